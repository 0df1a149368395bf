/*
 * Sockets of a userspace TCP/IP stack as file descriptors, with the calls of POSIX under the prefix ns_.
 *
 * A call without the prefix goes to the kernel, so that several stacks and the kernel are side by side
 * in one process. Calls that make a socket, or give or tell an address, need the prefix; read, write,
 * poll, epoll, select, close, dup, fcntl, shutdown and sendfile are libc's.
 *
 * Calls return -1 and set errno, or as it says, and ns_error() has the text. All may be called from any
 * thread, and none from a signal handler. After fork the child's calls fail with EOWNERDEAD, and its
 * inherited descriptors work as long as the parent lives.
 *
 * docs/c.md has a guide. Made by cbindgen of capi/src/c.
 */

#ifndef NETSTACK_H
#define NETSTACK_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <netdb.h>
#include <ifaddrs.h>

/*
 A stack. Its pointers are names that are looked up.
 */
struct ns;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 Opens a link, and starts a stack on it, in threads of its own.

 `config` is the URL of the link, as "tap://NAME", "tun://NAME", "vde://DIRECTORY" or "switch://NAME",
 which joins the stacks of this process, and after it, separated by commas, any of:

   ip=ADDRESS/LENGTH    an address of the stack, IPv4 or IPv6 (repeatable)
   gw=ADDRESS           its default gateway (one for each family)
   dhcp                 an IPv4 address by DHCP (not tun)
   slaac                IPv6 addresses by router advertisements
   dns=ADDRESS          a name server (repeatable)
   search=DOMAIN        a search domain (repeatable)
   host=ADDRESS/LENGTH  an address of the kernel on the tun or tap, which is brought up (repeatable)
   mtu=BYTES            the largest IP packet, 1500 without it
   name=NAME            the name of the interface in ns_getifaddrs, "ns0" without it

 With dhcp or slaac it waits for an address, for 30 seconds at most.

 Returns the stack, or NULL: EINVAL for a part that is not understood, which ns_error() names;
 EPERM for a tun or tap without the capability CAP_NET_ADMIN, or of somebody else; EBUSY for one in
 use; ETIMEDOUT without an address; other errors of opening the link.
 */
struct ns *ns_newstack(const char *config);

/*
 Ends a stack. What was written to its closed sockets is sent first, for 5 seconds at most.

 Returns 0, or -1: EBUSY while a descriptor of one of its sockets is open, and nothing is ended;
 EINVAL if there is no such stack.
 */
int ns_delstack(struct ns *stack);

/*
 Makes a stack the one that NULL stands for in the other calls; NULL makes it none again.

 Returns 0, or -1: EINVAL if there is no such stack.
 */
int ns_setdefault(struct ns *stack);

/*
 Returns the text of the last failed call of this thread, in English; an empty one before the
 first. It is valid until the next failure in the thread, and belongs to the library.
 */
const char *ns_error(void);

/*
 Makes a socket of a stack, as socket(2): AF_INET or AF_INET6, SOCK_STREAM (TCP) or SOCK_DGRAM (UDP),
 with SOCK_NONBLOCK and SOCK_CLOEXEC; or AF_NETLINK, SOCK_RAW or SOCK_DGRAM, with NETLINK_ROUTE or
 NETLINK_SOCK_DIAG, whose requests are the stack's to answer. NULL is the default stack.

 read, write, poll, epoll, select, close, dup, fcntl, shutdown, sendfile and, for TCP, send and recv of
 libc work on the descriptor, also in children.

 Returns the descriptor, or -1: EAFNOSUPPORT, ESOCKTNOSUPPORT, EPROTONOSUPPORT, EMFILE; EINVAL if
 there is no such stack; EOWNERDEAD, as all calls, in a child of the process that made the stack.
 */
int ns_msocket(struct ns *stack,
               int domain,
               int type,
               int protocol);

/*
 Connects a socket, as connect(2). If the descriptor is non-blocking the attempt goes on after
 EINPROGRESS: it is writable at the end, and SO_ERROR of ns_getsockopt has the outcome. AF_UNSPEC
 disconnects a UDP socket.

 Returns 0, or -1: EINPROGRESS, EALREADY, EISCONN, ECONNREFUSED, ETIMEDOUT, ENETUNREACH,
 EHOSTUNREACH, EADDRNOTAVAIL, EINTR; ENOTSOCK if the descriptor is none of a stack.
 */
int ns_connect(int fd, const struct sockaddr *addr, socklen_t addrlen);

/*
 Gives a socket a local address and port, as bind(2); port 0 is a free one. An AF_INET6 socket on ::
 is on the stack's IPv4 addresses, too, unless IPV6_V6ONLY is set.

 Returns 0, or -1: EADDRINUSE, EADDRNOTAVAIL, EAFNOSUPPORT; EINVAL if it has one; ENOTSOCK.
 */
int ns_bind(int fd, const struct sockaddr *addr, socklen_t addrlen);

/*
 Listens for connections, as listen(2). The descriptor is readable while one waits to be accepted.

 Returns 0, or -1: EADDRINUSE; EINVAL if it is connected; EOPNOTSUPP for UDP; ENOTSOCK.
 */
int ns_listen(int fd, int backlog);

/*
 Accepts a connection, as accept(2).

 Returns its descriptor, or -1: EAGAIN if the listener is non-blocking and none waits; EINVAL if it
 does not listen; EMFILE, EINTR, EOPNOTSUPP, ENOTSOCK.
 */
int ns_accept(int fd, struct sockaddr *addr, socklen_t *addrlen);

/*
 Accepts a connection, as accept4(2): with SOCK_NONBLOCK and SOCK_CLOEXEC.

 Returns as ns_accept.
 */
int ns_accept4(int fd, struct sockaddr *addr, socklen_t *addrlen, int flags);

/*
 Writes the local address of a socket, as getsockname(2): the unspecified one before it has one.

 Returns 0, or -1: EFAULT, ENOTSOCK.
 */
int ns_getsockname(int fd, struct sockaddr *addr, socklen_t *addrlen);

/*
 Writes the address of a socket's peer, as getpeername(2).

 Returns 0, or -1: ENOTCONN, EFAULT, ENOTSOCK.
 */
int ns_getpeername(int fd, struct sockaddr *addr, socklen_t *addrlen);

/*
 Reads an option of a socket, as getsockopt(2), with the levels SOL_SOCKET, IPPROTO_TCP, IPPROTO_IP
 and IPPROTO_IPV6, and Linux's units: seconds for TCP_KEEPIDLE, milliseconds for TCP_USER_TIMEOUT.

 Returns 0, or -1: ENOPROTOOPT if there is no such option; EFAULT, EINVAL, ENOTSOCK.
 */
int ns_getsockopt(int fd, int level, int optname, void *optval, socklen_t *optlen);

/*
 Sets an option of a socket, as setsockopt(2); see ns_getsockopt.

 Returns 0, or -1: ENOPROTOOPT if there is no such option; EINVAL for a value that it cannot have;
 EFAULT, ENOTSOCK.
 */
int ns_setsockopt(int fd, int level, int optname, const void *optval, socklen_t optlen);

/*
 Sends, as sendto(2): a datagram to `addr`, or to the peer of the socket for NULL. On a TCP socket
 `addr` is ignored.

 Plain send, sendto, sendmsg and write of libc work on TCP sockets and on connected UDP sockets; on
 others their datagrams are dropped.

 Returns the number of bytes, or -1: EAGAIN, EDESTADDRREQ, EMSGSIZE, ENETUNREACH, ECONNREFUSED (of an
 earlier datagram), EPIPE (with SIGPIPE, unless MSG_NOSIGNAL is set), ENOTSOCK.
 */
ssize_t ns_sendto(int fd,
                  const void *buf,
                  size_t len,
                  int flags,
                  const struct sockaddr *addr,
                  socklen_t addrlen);

/*
 Receives, as recvfrom(2): a datagram, and its sender if `addr` is not NULL.

 Returns the number of bytes, 0 at the end of a TCP stream; or -1: EAGAIN, ECONNRESET, ECONNREFUSED
 (of an earlier datagram), ENOTCONN, EINTR, ENOTSOCK.
 */
ssize_t ns_recvfrom(int fd,
                    void *buf,
                    size_t len,
                    int flags,
                    struct sockaddr *addr,
                    socklen_t *addrlen);

/*
 Sends a message, as sendmsg(2), without control data.

 Returns as ns_sendto; EINVAL with control data, EMSGSIZE for more than 1024 pieces.
 */
ssize_t ns_sendmsg(int fd, const struct msghdr *msg, int flags);

/*
 Receives a message, as recvmsg(2). There is no control data.

 Returns as ns_recvfrom; EMSGSIZE for more than 1024 pieces.
 */
ssize_t ns_recvmsg(int fd, struct msghdr *msg, int flags);

/*
 Looks a name up with the stack's resolver, as getaddrinfo(3). NULL is the default stack. Services
 are those of the machine (/etc/services). The results are in the order to try them, the families in
 turns, and ns_freeaddrinfo frees them.

 Returns 0 or an EAI_ number for gai_strerror: EAI_NONAME, EAI_AGAIN if no name server answers or
 the stack has none, EAI_FAIL, EAI_FAMILY, EAI_SERVICE, EAI_SOCKTYPE, EAI_BADFLAGS; EAI_SYSTEM with
 errno EINVAL if there is no such stack.
 */
int ns_getaddrinfo(struct ns *stack,
                   const char *node,
                   const char *service,
                   const struct addrinfo *hints,
                   struct addrinfo **res);

/*
 Frees what ns_getaddrinfo has returned, and nothing else. NULL is allowed.
 */
void ns_freeaddrinfo(struct addrinfo *res);

/*
 Lists the addresses of a stack, as getifaddrs(3): those of its interface, which has the name of its
 configuration, and those of loopback, "lo". There are no entries of AF_PACKET, and ifa_data is
 NULL. ns_freeifaddrs frees the list. NULL is the default stack.

 Returns 0, or -1: EINVAL if there is no such stack; EFAULT.
 */
int ns_getifaddrs(struct ns *stack, struct ifaddrs **ifap);

/*
 Frees what ns_getifaddrs has returned, and nothing else. NULL is allowed.
 */
void ns_freeifaddrs(struct ifaddrs *ifa);

/*
 Adds an address to a stack. `addr` is a struct in_addr for AF_INET and a struct in6_addr for
 AF_INET6, `prefixlen` the number of bits of the network on the link. NULL is the default stack.

 Returns 0, or -1: EADDRNOTAVAIL if it cannot be a host's; ENOBUFS for too many; EAFNOSUPPORT, EINVAL.
 */
int ns_addr_add(struct ns *stack,
                int family,
                const void *addr,
                int prefixlen);

/*
 Removes an address from a stack, and ends the connections on it; see ns_addr_add.

 Returns 0, or -1: EADDRNOTAVAIL if the stack does not have it; EAFNOSUPPORT, EINVAL.
 */
int ns_addr_del(struct ns *stack, int family, const void *addr, int prefixlen);

/*
 Adds a route to the destinations `dst`/`prefixlen`, over the gateway `gw`, or on the link itself for
 NULL. A `dst` of NULL with a `prefixlen` of 0 is the default route. It replaces a route to the same
 destinations.

 Returns 0, or -1: EINVAL for a gateway that is not on the link; EADDRNOTAVAIL for one that cannot be
 a host's; ENOBUFS for too many; EAFNOSUPPORT.
 */
int ns_route_add(struct ns *stack,
                 int family,
                 const void *dst,
                 int prefixlen,
                 const void *gw);

/*
 Removes a route; see ns_route_add. For a `gw` of NULL it may have any gateway.

 Returns 0, or -1: ESRCH if there is none; EAFNOSUPPORT, EINVAL.
 */
int ns_route_del(struct ns *stack, int family, const void *dst, int prefixlen, const void *gw);

/*
 Sets the link of a stack up (1) or down (0).

 Returns 0, or -1: EINVAL if there is no such stack.
 */
int ns_link_set(struct ns *stack, int up);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* NETSTACK_H */
