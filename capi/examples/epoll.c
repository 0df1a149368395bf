/*
 * An echo server on port 5000 with epoll, edge-triggered, and a UDP one on the same port. It ends when
 * standard input does.
 *
 *   epoll tun://tun0,host=10.0.0.1/24,ip=10.0.0.50/24
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netstack.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

static void check(int returned, const char *what)
{
    if (returned < 0) {
        perror(what);
        fprintf(stderr, "%s\n", ns_error());
        exit(1);
    }
}

static void watch(int epoll, int fd, unsigned events)
{
    struct epoll_event event = { .events = events, .data.fd = fd };
    check(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

static int bound(struct ns *stack, int type)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(5000) };
    int fd = ns_msocket(stack, AF_INET6, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    check(fd, "ns_msocket");
    check(ns_bind(fd, (struct sockaddr *)&any, sizeof any), "ns_bind");
    return fd;
}

static void accept_all(int epoll, int listener)
{
    int one = 1, client;

    while ((client = ns_accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        check(ns_setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), "ns_setsockopt");
        watch(epoll, client, EPOLLIN | EPOLLET);
    }
    if (errno != EAGAIN)
        check(-1, "ns_accept4");
}

static void echo(int client)
{
    char bytes[4096];
    ssize_t n;

    while ((n = read(client, bytes, sizeof bytes)) > 0) {
        /* A real server would keep what there is no room for. */
        if (write(client, bytes, n) != n)
            break;
    }
    if (n != -1 || errno != EAGAIN)
        close(client);
}

static void echo_datagrams(int udp)
{
    char bytes[2048];
    struct sockaddr_in6 peer;
    struct iovec piece = { bytes, sizeof bytes };
    struct msghdr message = { .msg_name = &peer, .msg_iov = &piece, .msg_iovlen = 1 };
    ssize_t n;

    for (;;) {
        message.msg_namelen = sizeof peer;
        piece.iov_len = sizeof bytes;
        n = ns_recvmsg(udp, &message, 0);
        if (n < 0)
            break;
        piece.iov_len = n;
        if (ns_sendmsg(udp, &message, 0) != n)
            break;
    }
    if (errno != EAGAIN)
        check(-1, "datagrams");
}

int main(int argc, char **argv)
{
    struct ns *stack = ns_newstack(argc > 1 ? argv[1] : "");
    int epoll = epoll_create1(EPOLL_CLOEXEC), listener, udp;

    if (stack == NULL) {
        fprintf(stderr, "%s\n", ns_error());
        return 1;
    }
    check(epoll, "epoll_create1");
    check(ns_setdefault(stack), "ns_setdefault");
    listener = bound(NULL, SOCK_STREAM);
    check(ns_listen(listener, SOMAXCONN), "ns_listen");
    udp = bound(NULL, SOCK_DGRAM);
    watch(epoll, listener, EPOLLIN | EPOLLET);
    watch(epoll, udp, EPOLLIN);
    watch(epoll, STDIN_FILENO, EPOLLIN);
    puts("listening");
    fflush(stdout);

    for (;;) {
        struct epoll_event events[16];
        int n = epoll_wait(epoll, events, 16, -1), i;
        check(n, "epoll_wait");
        for (i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == STDIN_FILENO) {
                close(listener);
                close(udp);
                close(epoll);
                check(ns_delstack(stack), "ns_delstack");
                puts("ended");
                return 0;
            }
            if (fd == listener)
                accept_all(epoll, listener);
            else if (fd == udp)
                echo_datagrams(udp);
            else
                echo(fd);
        }
    }
}
