/*
 * Two stacks and the kernel in one process, each listening on port 5000, and each called by a client of
 * the next one over the interfaces between them.
 */
#include <arpa/inet.h>
#include <netstack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check(int returned, const char *what)
{
    if (returned < 0) {
        perror(what);
        fprintf(stderr, "%s\n", ns_error());
        exit(1);
    }
}

static struct sockaddr_in at(const char *text)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(5000) };
    inet_pton(AF_INET, text, &address.sin_addr);
    return address;
}

static struct ns *stack(const char *config)
{
    struct ns *made = ns_newstack(config);
    if (made == NULL) {
        fprintf(stderr, "%s\n", ns_error());
        exit(1);
    }
    return made;
}

/* A listener on every address, of a stack, or of the kernel for NULL. */
static int listener(struct ns *stack)
{
    struct sockaddr_in any = at("0.0.0.0");
    int fd = stack != NULL ? ns_msocket(stack, AF_INET, SOCK_STREAM, 0)
                           : socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    if (stack != NULL) {
        check(ns_bind(fd, (struct sockaddr *)&any, sizeof any), "ns_bind");
        check(ns_listen(fd, 1), "ns_listen");
    } else {
        check(bind(fd, (struct sockaddr *)&any, sizeof any), "bind");
        check(listen(fd, 1), "listen");
    }
    return fd;
}

static int client(struct ns *stack, const char *text)
{
    struct sockaddr_in address = at(text);
    int fd = stack != NULL ? ns_msocket(stack, AF_INET, SOCK_STREAM, 0)
                           : socket(AF_INET, SOCK_STREAM, 0);
    check(fd, "socket");
    if (stack != NULL)
        check(ns_connect(fd, (struct sockaddr *)&address, sizeof address), "ns_connect");
    else
        check(connect(fd, (struct sockaddr *)&address, sizeof address), "connect");
    return fd;
}

/* Accepts a connection, and sends a name to the other end of it. */
static void greet(const char *name, struct ns *stack, int listener, int client)
{
    char bytes[64];
    ssize_t n;
    int server = stack != NULL ? ns_accept(listener, NULL, NULL) : accept(listener, NULL, NULL);

    check(server, "accept");
    check(write(server, name, strlen(name)), "write");
    close(server);
    n = read(client, bytes, sizeof bytes);
    check(n, "read");
    printf("%.*s\n", (int)n, bytes);
    close(client);
    close(listener);
}

int main(void)
{
    struct ns *one = stack("tun://tun1,host=10.0.1.1/24,ip=10.0.1.2/24,gw=10.0.1.1");
    struct ns *two = stack("tun://tun2,host=10.0.2.1/24,ip=10.0.2.2/24,gw=10.0.2.1");
    int of_one = listener(one), of_two = listener(two), of_kernel = listener(NULL);

    greet("one", one, of_one, client(NULL, "10.0.1.2"));
    greet("two", two, of_two, client(NULL, "10.0.2.2"));
    greet("kernel", NULL, of_kernel, client(one, "10.0.1.1"));
    check(ns_delstack(one), "ns_delstack");
    check(ns_delstack(two), "ns_delstack");
    puts("ended");
    return 0;
}
