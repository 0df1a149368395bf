/* A stack's addresses by netlink, in the manner of nlinline. The kernel has 10.0.0.1. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netstack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHECK(is_so) \
    do { \
        if (!(is_so)) { \
            fprintf(stderr, "%d: %s: errno %d: %s\n", __LINE__, #is_so, errno, ns_error()); \
            exit(1); \
        } \
    } while (0)
#define FAILS(call, number) CHECK((errno = 0, (call) == -1) && errno == (number))

/* The index of a stack's link. */
#define LINK 2

static const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

struct request {
    struct nlmsghdr header;
    struct ifaddrmsg message;
    struct rtattr attribute;
    struct in_addr address;
};

static struct request request(int type, const char *address)
{
    struct request it = {
        .header = { .nlmsg_len = sizeof it, .nlmsg_type = type, .nlmsg_seq = 7 },
        .message = { .ifa_family = AF_INET, .ifa_prefixlen = 24, .ifa_index = LINK },
        .attribute = { .rta_len = RTA_LENGTH(sizeof it.address), .rta_type = IFA_LOCAL },
    };
    it.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    CHECK(inet_pton(AF_INET, address, &it.address) == 1);
    return it;
}

/* The error of the acknowledgement that has come. */
static int acknowledged(int fd)
{
    struct { struct nlmsghdr header; struct nlmsgerr error; char rest[1024]; } answer;
    struct sockaddr_nl sender = { 0 };
    struct iovec piece = { &answer, sizeof answer };
    struct msghdr message = { .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &piece, .msg_iovlen = 1 };

    CHECK(ns_recvmsg(fd, &message, 0) >= (ssize_t)sizeof answer.header);
    CHECK(sender.nl_family == AF_NETLINK && sender.nl_pid == 0 && message.msg_namelen == sizeof sender);
    CHECK(answer.header.nlmsg_type == NLMSG_ERROR && answer.header.nlmsg_seq == 7);
    return answer.error.error;
}

static int has(struct ns *stack, const char *address)
{
    struct ifaddrs *all, *it;
    struct in_addr wanted;
    int found = 0;

    CHECK(inet_pton(AF_INET, address, &wanted) == 1);
    CHECK(ns_getifaddrs(stack, &all) == 0);
    for (it = all; it != NULL; it = it->ifa_next)
        if (it->ifa_addr != NULL && it->ifa_addr->sa_family == AF_INET)
            found |= ((struct sockaddr_in *)it->ifa_addr)->sin_addr.s_addr == wanted.s_addr;
    ns_freeifaddrs(all);
    return found;
}

int main(void)
{
    struct ns *stack = ns_newstack("tap://tap0,ip=10.0.0.50/24,host=10.0.0.1/24,name=vde0");
    struct sockaddr_nl local = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR };
    socklen_t length = sizeof local;
    struct nlmsghdr told[64];
    struct request it;
    int fd, listens, value;

    CHECK(stack != NULL);
    FAILS(ns_msocket(stack, AF_NETLINK, SOCK_RAW, NETLINK_AUDIT), EPROTONOSUPPORT);
    FAILS(ns_msocket(stack, AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE), ESOCKTNOSUPPORT);
    CHECK((listens = ns_msocket(stack, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)) >= 0);
    CHECK(ns_bind(listens, (struct sockaddr *)&local, sizeof local) == 0);
    CHECK((fd = ns_msocket(stack, AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)) >= 0);
    CHECK(ns_getsockname(fd, (struct sockaddr *)&local, &length) == 0);
    CHECK(length == sizeof local && local.nl_family == AF_NETLINK && local.nl_pid != 0);
    length = sizeof value;
    CHECK(ns_getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &length) == 0 && value == NETLINK_ROUTE);
    value = 1;
    CHECK(ns_setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &value, sizeof value) == 0);
    FAILS(ns_setsockopt(fd, SOL_NETLINK, 99, &value, sizeof value), ENOPROTOOPT);

    /* By the call of the stack, and by libc's. */
    it = request(RTM_NEWADDR, "10.0.0.60");
    CHECK(ns_sendto(fd, &it, sizeof it, 0, (const struct sockaddr *)&kernel, sizeof kernel) == sizeof it);
    CHECK(acknowledged(fd) == 0);
    CHECK(has(stack, "10.0.0.60"));
    CHECK(recv(listens, told, sizeof told, 0) > 0 && told->nlmsg_type == RTM_NEWADDR);
    CHECK(write(fd, &it, sizeof it) == sizeof it);
    CHECK(acknowledged(fd) == -EEXIST);

    it = request(RTM_DELADDR, "10.0.0.60");
    CHECK(send(fd, &it, sizeof it, 0) == sizeof it);
    CHECK(acknowledged(fd) == 0);
    CHECK(!has(stack, "10.0.0.60") && has(stack, "10.0.0.50"));

    close(listens);
    FAILS(ns_delstack(stack), EBUSY);
    close(fd);
    CHECK(ns_delstack(stack) == 0);
    puts("done");
    return 0;
}
