/*
 * An echo server on port 5000: one socket on [::] answers over IPv4 and IPv6. Lines of standard input
 * change the stack's addresses: "add ADDRESS/LENGTH", "del ADDRESS/LENGTH", "list".
 *
 *   echo tap://tap0,host=10.0.0.1/24,host=fc00::1/64,ip=10.0.0.50/24,ip=fc00::1:50/64
 */
#include <arpa/inet.h>
#include <netstack.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CLIENTS_MAX 64

static void check(int returned, const char *what)
{
    if (returned < 0) {
        perror(what);
        fprintf(stderr, "%s\n", ns_error());
        exit(1);
    }
}

static void list(struct ns *stack)
{
    struct ifaddrs *all, *one;

    check(ns_getifaddrs(stack, &all), "ns_getifaddrs");
    for (one = all; one != NULL; one = one->ifa_next) {
        char text[INET6_ADDRSTRLEN];
        const void *address = one->ifa_addr->sa_family == AF_INET
            ? (const void *)&((struct sockaddr_in *)one->ifa_addr)->sin_addr
            : (const void *)&((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr;
        inet_ntop(one->ifa_addr->sa_family, address, text, sizeof text);
        printf("%s %s\n", one->ifa_name, text);
    }
    ns_freeifaddrs(all);
}

/* Does what a line says, and prints how that went. */
static void obey(struct ns *stack, char *line)
{
    unsigned char address[sizeof(struct in6_addr)];
    char *text, *length;
    int family, done;

    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, "list") == 0) {
        list(stack);
    } else if ((text = strchr(line, ' ')) != NULL && (length = strchr(text, '/')) != NULL) {
        *text++ = 0;
        *length++ = 0;
        family = strchr(text, ':') != NULL ? AF_INET6 : AF_INET;
        if (inet_pton(family, text, address) != 1) {
            printf("%s is no address\n", text);
            fflush(stdout);
            return;
        }
        done = strcmp(line, "add") == 0
            ? ns_addr_add(stack, family, address, atoi(length))
            : ns_addr_del(stack, family, address, atoi(length));
        printf("%s %s: %s\n", line, text, done == 0 ? "done" : ns_error());
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(5000) };
    struct pollfd fds[2 + CLIENTS_MAX];
    struct ns *stack;
    int listener, count = 2, i;

    stack = ns_newstack(argc > 1 ? argv[1] : "");
    if (stack == NULL) {
        fprintf(stderr, "%s\n", ns_error());
        return 1;
    }
    check(listener = ns_msocket(stack, AF_INET6, SOCK_STREAM, 0), "ns_msocket");
    check(ns_bind(listener, (struct sockaddr *)&any, sizeof any), "ns_bind");
    check(ns_listen(listener, 10), "ns_listen");
    puts("listening");
    fflush(stdout);

    fds[0] = (struct pollfd){ .fd = STDIN_FILENO, .events = POLLIN };
    fds[1] = (struct pollfd){ .fd = listener, .events = POLLIN };
    for (;;) {
        check(poll(fds, count, -1), "poll");
        if (fds[0].revents != 0) {
            char line[128];
            if (fgets(line, sizeof line, stdin) == NULL)
                break;
            obey(stack, line);
        }
        for (i = count - 1; i > 1; i--) {
            char bytes[4096];
            ssize_t n;
            if (fds[i].revents == 0)
                continue;
            n = read(fds[i].fd, bytes, sizeof bytes);
            if (n <= 0 || write(fds[i].fd, bytes, n) != n) {
                close(fds[i].fd);
                fds[i] = fds[--count];
                puts("closed");
                fflush(stdout);
            }
        }
        if (fds[1].revents != 0 && count < 2 + CLIENTS_MAX) {
            struct sockaddr_in6 peer;
            socklen_t length = sizeof peer;
            char text[INET6_ADDRSTRLEN];
            int client = ns_accept(listener, (struct sockaddr *)&peer, &length);
            check(client, "ns_accept");
            inet_ntop(AF_INET6, &peer.sin6_addr, text, sizeof text);
            printf("client %s\n", text);
            fflush(stdout);
            fds[count++] = (struct pollfd){ .fd = client, .events = POLLIN };
        }
    }

    if (ns_delstack(stack) == -1)
        printf("%s\n", ns_error());
    for (i = 1; i < count; i++)
        close(fds[i].fd);
    check(ns_delstack(stack), "ns_delstack");
    puts("ended");
    return 0;
}
