/*
 * Calls of netstack.h and what they return. The kernel has 10.0.0.1 and fc00::1, with a closed port 9,
 * an echo server on the TCP and UDP ports of the first argument, and names on 10.0.0.1.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <netstack.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(is_so) \
    do { \
        if (!(is_so)) { \
            fprintf(stderr, "%d: %s: errno %d: %s\n", __LINE__, #is_so, errno, ns_error()); \
            exit(1); \
        } \
    } while (0)
#define FAILS(call, number) CHECK((errno = 0, (call) == -1) && errno == (number))

static struct sockaddr_in at(const char *text, int port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
    CHECK(inet_pton(AF_INET, text, &address.sin_addr) == 1);
    return address;
}

#define ADDRESS(it) (struct sockaddr *)&(it), sizeof(it)

static void stacks(struct ns *stack)
{
    CHECK(ns_newstack("tap://tap9,colour=red") == NULL && errno == EINVAL);
    CHECK(strstr(ns_error(), "\"colour=red\"") != NULL);
    CHECK(ns_newstack(NULL) == NULL && errno == EINVAL);
    FAILS(ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), EINVAL);
    FAILS(ns_delstack((struct ns *)stdin), EINVAL);
    CHECK(ns_setdefault(stack) == 0);
    FAILS(ns_msocket(NULL, AF_UNIX, SOCK_STREAM, 0), EAFNOSUPPORT);
    FAILS(ns_msocket(NULL, AF_INET, SOCK_RAW, 0), ESOCKTNOSUPPORT);
    FAILS(ns_msocket(NULL, AF_INET, SOCK_STREAM, IPPROTO_SCTP), EPROTONOSUPPORT);
    FAILS(ns_listen(0, 1), ENOTSOCK);
    FAILS(ns_listen(-1, 1), EBADF);
    FAILS(ns_listen(999, 1), EBADF);
    CHECK(strcmp(ns_error(), "ns_listen: Bad file descriptor") == 0);
}

static void binding(void)
{
    int one = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), two = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in local = at("10.0.0.50", 0), foreign = at("10.0.0.99", 0);
    socklen_t length = sizeof local;

    FAILS(ns_bind(one, ADDRESS(foreign)), EADDRNOTAVAIL);
    CHECK(ns_bind(one, ADDRESS(local)) == 0);
    FAILS(ns_bind(one, ADDRESS(local)), EINVAL);
    CHECK(ns_getsockname(one, (struct sockaddr *)&local, &length) == 0);
    CHECK(local.sin_port != 0 && length == sizeof local);
    FAILS(ns_bind(two, ADDRESS(local)), EADDRINUSE);
    FAILS(ns_getpeername(one, (struct sockaddr *)&local, &length), ENOTCONN);
    FAILS(ns_bind(two, (struct sockaddr *)&local, 3), EINVAL);
    FAILS(ns_accept(two, NULL, NULL), EINVAL);
    FAILS(ns_sendto(two, "x", 1, MSG_NOSIGNAL, NULL, 0), EPIPE);
    close(one);
    close(two);
}

static void options(void)
{
    int fd = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), value = 7;
    socklen_t length = sizeof value;
    struct timeval soon = { .tv_usec = 10000 };

    CHECK(ns_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, sizeof value) == 0);
    value = 0;
    CHECK(ns_getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, &length) == 0 && value == 7);
    CHECK(ns_getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &length) == 0 && value == SOCK_STREAM);
    CHECK(ns_getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &length) == 0 && value == AF_INET);
    FAILS(ns_getsockopt(fd, IPPROTO_TCP, 99, &value, &length), ENOPROTOOPT);
    FAILS(ns_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &value, sizeof value), ENOPROTOOPT);
    FAILS(ns_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, 1), EINVAL);
    FAILS(ns_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof value), EFAULT);
    CHECK(ns_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon) == 0);
    CHECK(ns_listen(fd, 1) == 0);
    FAILS(ns_accept(fd, NULL, NULL), EAGAIN);
    CHECK(ns_getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &length) == 0 && value == 1);
    close(fd);
}

static int so_error(int fd)
{
    int error = -1;
    socklen_t length = sizeof error;
    CHECK(ns_getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0);
    return error;
}

static void connecting(int port)
{
    struct sockaddr_in echo = at("10.0.0.1", port), closed = at("10.0.0.1", 9), name;
    socklen_t length = sizeof name;
    struct pollfd ready = { .events = POLLOUT };
    char bytes[8];
    int fd = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), copy;

    FAILS(ns_connect(fd, ADDRESS(closed)), ECONNREFUSED);
    CHECK(ns_connect(fd, ADDRESS(echo)) == 0);
    FAILS(ns_connect(fd, ADDRESS(echo)), EISCONN);
    CHECK(ns_getpeername(fd, (struct sockaddr *)&name, &length) == 0);
    CHECK(name.sin_port == echo.sin_port && name.sin_addr.s_addr == echo.sin_addr.s_addr);
    copy = dup(fd);
    close(fd);
    CHECK(ns_getsockname(copy, (struct sockaddr *)&name, &length) == 0);
    CHECK(name.sin_addr.s_addr == inet_addr("10.0.0.50") && name.sin_port != 0);
    CHECK(write(copy, "stream", 6) == 6 && shutdown(copy, SHUT_WR) == 0);
    CHECK(ns_recvfrom(copy, bytes, 6, MSG_WAITALL, NULL, NULL) == 6 && memcmp(bytes, "stream", 6) == 0);
    CHECK(read(copy, bytes, 1) == 0);
    close(copy);

    ready.fd = ns_msocket(NULL, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(ns_connect(ready.fd, ADDRESS(closed)), EINPROGRESS);
    CHECK(poll(&ready, 1, -1) == 1 && so_error(ready.fd) == ECONNREFUSED);
    close(ready.fd);
    ready.fd = ns_msocket(NULL, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(ns_connect(ready.fd, ADDRESS(echo)), EINPROGRESS);
    CHECK(poll(&ready, 1, -1) == 1 && so_error(ready.fd) == 0);
    close(ready.fd);
}

static void datagrams(int port)
{
    struct sockaddr_in echo = at("10.0.0.1", port), sender;
    socklen_t length = sizeof sender;
    struct pollfd ready = { .events = POLLIN };
    char bytes[16];
    struct iovec pieces[2] = { { bytes, 2 }, { bytes + 8, 2 } };
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = 2 };
    int fd = ns_msocket(NULL, AF_INET, SOCK_DGRAM, 0);

    FAILS(ns_sendto(fd, "x", 1, 0, NULL, 0), EDESTADDRREQ);
    CHECK(ns_sendto(fd, "to", 2, 0, ADDRESS(echo)) == 2);
    ready.fd = fd;
    CHECK(poll(&ready, 1, -1) == 1);
    CHECK(ns_recvfrom(fd, bytes, 16, 0, (struct sockaddr *)&sender, &length) == 2);
    CHECK(sender.sin_port == echo.sin_port && length == sizeof sender);
    FAILS(ns_recvfrom(fd, bytes, 16, MSG_DONTWAIT, NULL, NULL), EAGAIN);
    CHECK(ns_sendto(fd, "", 0, 0, ADDRESS(echo)) == 0);
    CHECK(ns_recvfrom(fd, bytes, 16, 0, NULL, NULL) == 0);

    CHECK(ns_connect(fd, ADDRESS(echo)) == 0);
    CHECK(send(fd, "plain", 5, 0) == 5 && recv(fd, bytes, 16, 0) == 5);
    memcpy(bytes, "ab......cd", 10);
    CHECK(ns_sendmsg(fd, &message, 0) == 4);
    CHECK(ns_recvfrom(fd, bytes, 1, MSG_PEEK | MSG_TRUNC, NULL, NULL) == 4);
    pieces[1].iov_len = 1;
    CHECK(ns_recvmsg(fd, &message, 0) == 3 && message.msg_flags == MSG_TRUNC);
    CHECK(memcmp(bytes, "ab......c", 9) == 0);
    message.msg_control = bytes;
    message.msg_controllen = sizeof bytes;
    FAILS(ns_sendmsg(fd, &message, 0), EINVAL);
    close(fd);
}

static void names(void)
{
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM, .ai_flags = AI_CANONNAME };
    struct addrinfo *all;
    int count = 0;

    CHECK(ns_getaddrinfo(NULL, "a.test", "http", &hints, &all) == 0);
    CHECK(all->ai_family == AF_INET && all->ai_socktype == SOCK_STREAM && all->ai_next == NULL);
    CHECK(((struct sockaddr_in *)all->ai_addr)->sin_port == htons(80));
    CHECK(((struct sockaddr_in *)all->ai_addr)->sin_addr.s_addr == inet_addr("10.1.2.3"));
    CHECK(strcmp(all->ai_canonname, "a.test") == 0);
    ns_freeaddrinfo(all);
    CHECK(ns_getaddrinfo(NULL, "missing.test", NULL, NULL, &all) == EAI_NONAME);
    CHECK(ns_getaddrinfo(NULL, "a.test", "no-such-service", NULL, &all) == EAI_SERVICE);
    CHECK(ns_getaddrinfo(NULL, NULL, NULL, NULL, &all) == EAI_NONAME);
    hints.ai_flags = AI_NUMERICHOST;
    CHECK(ns_getaddrinfo(NULL, "a.test", NULL, &hints, &all) == EAI_NONAME);
    CHECK(ns_getaddrinfo(NULL, "fc00::9", "53", NULL, &all) == 0);
    for (struct addrinfo *one = all; one != NULL; one = one->ai_next)
        count += one->ai_family == AF_INET6 && one->ai_addrlen == sizeof(struct sockaddr_in6);
    CHECK(count == 2);
    ns_freeaddrinfo(all);
}

static void network(void)
{
    struct in_addr address = { inet_addr("10.7.0.2") }, gateway = { inet_addr("10.0.0.1") };
    struct in_addr far = { inet_addr("10.8.0.0") }, elsewhere = { inet_addr("10.9.0.1") };

    CHECK(ns_addr_add(NULL, AF_INET, &address, 16) == 0);
    FAILS(ns_addr_add(NULL, AF_INET, &address, 33), EINVAL);
    FAILS(ns_addr_add(NULL, AF_UNIX, &address, 16), EAFNOSUPPORT);
    FAILS(ns_addr_del(NULL, AF_INET, &address, 24), EADDRNOTAVAIL);
    CHECK(ns_addr_del(NULL, AF_INET, &address, 16) == 0);
    CHECK(ns_route_add(NULL, AF_INET, &far, 16, &gateway) == 0);
    FAILS(ns_route_add(NULL, AF_INET, &far, 24, &elsewhere), EINVAL);
    FAILS(ns_route_del(NULL, AF_INET, &far, 16, &elsewhere), ESRCH);
    CHECK(ns_route_del(NULL, AF_INET, &far, 16, &gateway) == 0);
    FAILS(ns_route_del(NULL, AF_INET, NULL, 0, NULL), ESRCH);
    CHECK(ns_link_set(NULL, 0) == 0 && ns_link_set(NULL, 1) == 0);
}

static pthread_t handler_thread;

static void handle(int signal)
{
    (void)signal;
    handler_thread = pthread_self();
}

/* A signal is the program's, and interrupts its call. */
static void interrupted(void)
{
    struct itimerval again = { .it_interval.tv_usec = 20000, .it_value.tv_usec = 20000 }, never = { 0 };
    struct sigaction action = { .sa_handler = handle };
    int fd = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0);

    CHECK(ns_listen(fd, 1) == 0);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && setitimer(ITIMER_REAL, &again, NULL) == 0);
    FAILS(ns_accept(fd, NULL, NULL), EINTR);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(pthread_equal(handler_thread, pthread_self()));
    close(fd);
}

/* A child has the descriptors, and none of the calls. */
static void children(int port)
{
    struct sockaddr_in echo = at("10.0.0.1", port);
    int fd = ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), status;
    char bytes[8];
    pid_t child;

    CHECK(ns_connect(fd, ADDRESS(echo)) == 0);
    child = fork();
    if (child == 0) {
        FAILS(ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), EOWNERDEAD);
        FAILS(ns_connect(fd, ADDRESS(echo)), EOWNERDEAD);
        FAILS(ns_delstack(NULL), EOWNERDEAD);
        CHECK(ns_newstack("tun://tun9") == NULL && errno == EOWNERDEAD);
        CHECK(write(fd, "child", 5) == 5 && read(fd, bytes, 8) == 5);
        /* Valgrind would report the memory of threads that are not here as lost. */
        execlp("true", "true", NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(write(fd, "parent", 6) == 6 && read(fd, bytes, 8) == 6);
    close(fd);
}

/* Without a stack in the parent a child makes its own. */
static void after_the_last_stack(void)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        CHECK(ns_newstack("tap://tap0,colour=red") == NULL && errno == EINVAL);
        execlp("true", "true", NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

/* Stacks of this process, joined without the kernel. */
static void joined(void)
{
    struct ns *one = ns_newstack("switch://lan,ip=10.3.0.1/24");
    struct ns *two = ns_newstack("switch://lan,ip=10.3.0.2/24");
    struct sockaddr_in there = at("10.3.0.1", 5000);
    int listener, client, server;
    char byte = 0;

    CHECK(one != NULL && two != NULL);
    listener = ns_msocket(one, AF_INET, SOCK_STREAM, 0);
    CHECK(ns_bind(listener, (struct sockaddr *)&there, sizeof there) == 0);
    CHECK(ns_listen(listener, 1) == 0);
    client = ns_msocket(two, AF_INET, SOCK_STREAM, 0);
    CHECK(ns_connect(client, (struct sockaddr *)&there, sizeof there) == 0);
    server = ns_accept(listener, NULL, NULL);
    CHECK(write(client, "x", 1) == 1);
    CHECK(read(server, &byte, 1) == 1 && byte == 'x');
    close(client);
    close(server);
    close(listener);
    CHECK(ns_delstack(two) == 0);
    CHECK(ns_delstack(one) == 0);
    CHECK(ns_newstack("vde:///nowhere/at/all,ip=10.3.0.3/24") == NULL && errno == ENOENT);
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 0, fd;
    struct ns *stack = ns_newstack("tap://tap0,ip=10.0.0.50/24,host=10.0.0.1/24,dns=10.0.0.1,name=vde0");

    CHECK(*ns_error() == 0 || stack == NULL);
    CHECK(stack != NULL);
    stacks(stack);
    binding();
    options();
    connecting(port);
    datagrams(port);
    names();
    network();
    interrupted();
    children(port);
    joined();

    fd = ns_msocket(stack, AF_INET, SOCK_DGRAM, 0);
    FAILS(ns_delstack(stack), EBUSY);
    close(fd);
    CHECK(ns_delstack(stack) == 0);
    FAILS(ns_delstack(stack), EINVAL);
    after_the_last_stack();
    FAILS(ns_msocket(NULL, AF_INET, SOCK_STREAM, 0), EINVAL);
    puts("done");
    return 0;
}
