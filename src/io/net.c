/* net.c: names and addresses of this machine and of others. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/internal.h"

static const char *const transport_names[] = {
    [IO_TCP] = "tcp", [IO_TLS] = "tls", [IO_WS] = "ws", [IO_WSS] = "wss", [IO_UNIX] = "unix",
};

void io_address_print(const struct io_address *address, struct text *out_text)
{
    text_printf(out_text, "%s://", transport_names[address->transport]);
    if (address->transport == IO_UNIX) {
        text_add_cstr(out_text, address->host);
        return;
    }
    bool is_v6 = strchr(address->host, ':') != NULL;
    text_printf(out_text, is_v6 ? "[%s]:%u" : "%s:%u", address->host, address->port);
}

bool io_is_numeric(const char *host)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *addresses = NULL;
    if (getaddrinfo(host, NULL, &hints, &addresses) != 0) {
        return false;
    }
    freeaddrinfo(addresses);
    return true;
}

struct resolution {
    uv_getaddrinfo_t request;
    void (*resolved)(void *user, int code, const char *text);
    void *user;
    char host[IO_HOST_MAX];
};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct resolution *resolution = request->data;
    if (status == 0) {
        struct io_address address = {0};
        io_socket_address(addresses->ai_addr, &address);
        resolution->resolved(resolution->user, OK, address.host);
    } else {
        char text[IO_HOST_MAX + 128];
        snprintf(text, sizeof text, "host name '%s' cannot be resolved: %s", resolution->host,
                 uv_strerror(status));
        resolution->resolved(resolution->user, ERR_ADDRESS, text);
    }
    if (addresses != NULL) {
        uv_freeaddrinfo(addresses);
    }
    mem_free(resolution);
}

/* For what needs no resolver, or makes it refuse at once. */
static void on_posted(void *user)
{
    struct resolution *resolution = user;
    if (io_is_numeric(resolution->host)) {
        resolution->resolved(resolution->user, OK, resolution->host);
    } else {
        on_resolved(&resolution->request, UV_EAI_NONAME, NULL);
        return;
    }
    mem_free(resolution);
}

void io_resolve(struct io_loop *loop, const char *host,
                void (*resolved)(void *user, int code, const char *text), void *user)
{
    ASSERT(resolved != NULL);
    struct resolution *resolution = mem_zalloc(1, sizeof *resolution);
    resolution->resolved = resolved;
    resolution->user = user;
    resolution->request.data = resolution;
    snprintf(resolution->host, sizeof resolution->host, "%s", host);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (io_is_numeric(host) || uv_getaddrinfo(&loop->uv, &resolution->request, on_resolved,
                                              resolution->host, NULL, &hints) != 0) {
        io_post(loop, on_posted, resolution);
    }
}

static void list_interfaces(const struct ifaddrs *list, struct text *out_text)
{
    const char *separator = "";
    for (const struct ifaddrs *each = list; each != NULL; each = each->ifa_next) {
        bool listed = false;
        for (const struct ifaddrs *past = list; past != each && !listed; past = past->ifa_next) {
            listed = strcmp(past->ifa_name, each->ifa_name) == 0;
        }
        if (!listed) {
            text_printf(out_text, "%s'%s'", separator, each->ifa_name);
            separator = ", ";
        }
    }
}

int io_interface_address(const char *name, char out_host[IO_HOST_MAX], struct text *why)
{
    struct ifaddrs *list = NULL;
    if (getifaddrs(&list) != 0) {
        text_printf(why, "network interfaces cannot be listed: %s", io_errno_text(errno));
        return ERR_IO;
    }
    int code = ERR_NOT_FOUND;
    bool known = false;
    for (const struct ifaddrs *each = list; each != NULL && code != OK; each = each->ifa_next) {
        if (strcmp(each->ifa_name, name) != 0) {
            continue;
        }
        known = true;
        if (each->ifa_addr != NULL && each->ifa_addr->sa_family == AF_INET) {
            struct io_address address = {0};
            io_socket_address(each->ifa_addr, &address);
            memcpy(out_host, address.host, IO_HOST_MAX);
            code = OK;
        }
    }
    if (code != OK && known) {
        text_printf(why, "interface '%s' doesn't have an IPv4 address", name);
    } else if (code != OK) {
        text_printf(why, "'%s' is not a valid network interface. Valid network interfaces are: [",
                    name);
        list_interfaces(list, why);
        text_add_char(why, ']');
    }
    freeifaddrs(list);
    return code;
}

/* Our end of a UDP socket "connected" to `target`: no packet is sent, only a route is chosen. */
static bool route_towards(const char *target, char out_host[IO_HOST_MAX])
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *address = NULL;
    if (getaddrinfo(target, "80", &hints, &address) != 0) {
        return false;
    }
    bool found = false;
    int fd = socket(address->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, address->ai_addr, address->ai_addrlen) == 0) {
        struct sockaddr_storage storage;
        socklen_t size = sizeof storage;
        struct io_address ours = {0};
        if (getsockname(fd, (struct sockaddr *)&storage, &size) == 0) {
            io_socket_address((struct sockaddr *)&storage, &ours);
            memcpy(out_host, ours.host, IO_HOST_MAX);
            found = ours.host[0] != '\0';
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    freeaddrinfo(address);
    return found;
}

/* The address that this machine's own name has, in one family. */
static bool address_of_own_name(int family, char out_host[IO_HOST_MAX])
{
    char name[IO_HOST_MAX];
    io_host_name(name);
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_DGRAM};
    struct addrinfo *address = NULL;
    if (getaddrinfo(name, NULL, &hints, &address) != 0) {
        return false;
    }
    struct io_address ours = {0};
    io_socket_address(address->ai_addr, &ours);
    memcpy(out_host, ours.host, IO_HOST_MAX);
    freeaddrinfo(address);
    return true;
}

void io_outward_address(const char *target, char out_host[IO_HOST_MAX])
{
    bool is_v6 = target != NULL && strchr(target, ':') != NULL;
    /* The internet is where stock aims as well: Google's resolver; nothing is sent to it. */
    if (route_towards(target != NULL ? target : "8.8.8.8", out_host) ||
        address_of_own_name(is_v6 ? AF_INET6 : AF_INET, out_host)) {
        return;
    }
    snprintf(out_host, IO_HOST_MAX, "%s", is_v6 ? "::1" : "127.0.0.1");
}

void io_host_name(char out_name[IO_HOST_MAX])
{
    if (gethostname(out_name, IO_HOST_MAX) != 0) {
        snprintf(out_name, IO_HOST_MAX, "localhost");
    }
    out_name[IO_HOST_MAX - 1] = '\0';
}

uint64_t io_open_files_max(void)
{
    struct rlimit limit;
    int code = getrlimit(RLIMIT_NOFILE, &limit);
    ASSERT(code == 0);
    struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
    if (limit.rlim_cur < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &raised) == 0) {
        return raised.rlim_cur;
    }
    return limit.rlim_cur;
}
