/* An instrument on TCP sockets that costs next to nothing: `loopback COUNT` serves COUNT of them, each on a free
 * loopback port, prints the ports in one line, and ends when its standard input does.
 *
 * One process, one thread. No connection waits for another: sockets do not block, a long answer goes out a piece at a
 * time, and one that is to come later is a deadline. Answers to one connection come in the order of its commands.
 *
 *     *IDN?          BENCH,LOOPBACK,<port>,1.0
 *     ECHO? <text>   <text>
 *     CURV? <n>      #9<n in 9 digits><n bytes>, byte i as in `pattern`
 *     TEXT? <n>      <n bytes>, as numbers in ASCII are made of, byte i as in `letters`
 *     WAIT? <ms>     done, so much later
 *     COUNT?         how many commands this port has had, COUNT? apart
 *     ...?...        ERROR
 *     anything else  is counted, and has no answer
 *
 * Commands end with LF, and so do answers. To add a command: a row in COMMANDS and its function; and the same in
 * loopback_python.py.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    PERIOD = 65521,     /* a prime: pieces of any usual size that change places are seen */
    LONGEST = 65536,    /* bytes of a command that are looked at */
    TURN = 1 << 20,     /* bytes of one answer, before it is somebody else's turn */
    PIECES = 32,        /* of PERIOD bytes, in one writev */
};

struct port {
    int listener, number;
    unsigned long long commands;
};

struct connection {
    int fd;
    struct port *port;
    char in[LONGEST];
    size_t held;
    int is_too_long;            /* a command is, and what came of it so far is thrown away */
    char head[LONGEST + 64];    /* an answer is a head and, if it is long, so many bytes of `curve` and LF */
    const unsigned char *curve;
    uint64_t head_length, curve_length, length, sent;
    int64_t due;                /* when a late answer goes out, in nanoseconds; 0: none does */
    uint32_t interest;
    struct connection *next, *previous;   /* all that wait */
};

static int poller;
static unsigned char pattern[PERIOD], letters[PERIOD];
static struct connection *waiting;

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int has_answer(const struct connection *c)
{
    return c->due || c->sent < c->length;
}

static void say(struct connection *c, const char *text, size_t length)
{
    memcpy(c->head, text, length);
    c->head[length] = '\n';
    c->head_length = c->length = length + 1;
    c->curve_length = c->sent = 0;
}

static void identity(struct connection *c, const char *argument, size_t length)
{
    (void)argument, (void)length;
    char text[64];
    say(c, text, snprintf(text, sizeof text, "BENCH,LOOPBACK,%d,1.0", c->port->number));
}

static void echo(struct connection *c, const char *argument, size_t length)
{
    say(c, argument, length);
}

static void send_curve(struct connection *c, const char *form, const unsigned char *curve, const char *argument)
{
    unsigned long long n = strtoull(argument, NULL, 10) % 1000000000;
    c->head_length = snprintf(c->head, sizeof c->head, form, n);
    c->curve = curve;
    c->curve_length = n;
    c->length = c->head_length + n + 1;
    c->sent = 0;
}

static void curve(struct connection *c, const char *argument, size_t length)
{
    (void)length;
    send_curve(c, "#9%09llu", pattern, argument);
}

static void text(struct connection *c, const char *argument, size_t length)
{
    (void)length;
    send_curve(c, "", letters, argument);
}

static void late(struct connection *c, const char *argument, size_t length)
{
    (void)length;
    c->due = now() + (int64_t)(strtod(argument, NULL) * 1e6);
    if ((c->next = waiting))
        waiting->previous = c;
    c->previous = NULL;
    waiting = c;
    say(c, "done", 4);
}

static void count(struct connection *c, const char *argument, size_t length)
{
    (void)argument, (void)length;
    char text[32];
    c->port->commands--;
    say(c, text, snprintf(text, sizeof text, "%llu", c->port->commands));
}

static const struct {
    const char *header;
    void (*answer)(struct connection *, const char *argument, size_t length);
} COMMANDS[] = {
    {"*IDN?", identity}, {"ECHO?", echo}, {"CURV?", curve}, {"TEXT?", text}, {"WAIT?", late}, {"COUNT?", count},
};

static void execute(struct connection *c, char *line, size_t length)
{
    c->port->commands++;
    if (length && line[length - 1] == '\r')
        length--;
    line[length] = 0;
    if (!memchr(line, '?', length))
        return;
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++) {
        size_t header = strlen(COMMANDS[i].header);
        if (strncmp(line, COMMANDS[i].header, header) == 0 && (line[header] == ' ' || !line[header])) {
            size_t at = header + (line[header] == ' ');
            COMMANDS[i].answer(c, line + at, length - at);
            return;
        }
    }
    say(c, "ERROR", 5);
}

/* Every whole command that is here, up to the first that has an answer to be sent. */
static void execute_all(struct connection *c)
{
    size_t at = 0;
    while (!has_answer(c)) {
        char *end = memchr(c->in + at, '\n', c->held - at);
        if (!end)
            break;
        if (c->is_too_long)
            c->port->commands++, c->is_too_long = 0;
        else
            execute(c, c->in + at, end - c->in - at);
        at = end + 1 - c->in;
    }
    memmove(c->in, c->in + at, c->held -= at);
    if (c->held == LONGEST)
        c->is_too_long = 1, c->held = 0;
}

/* What the answer goes on with from `sent` on, in up to PIECES + 2 pieces. */
static int pieces(const struct connection *c, struct iovec *piece)
{
    int n = 0;
    uint64_t at = c->sent, curve_end = c->head_length + c->curve_length;
    if (at < c->head_length) {
        piece[n++] = (struct iovec){(char *)c->head + at, c->head_length - at};
        at = c->head_length;
    }
    for (int i = 0; at < curve_end && i < PIECES; i++) {
        uint64_t start = (at - c->head_length) % PERIOD, length = PERIOD - start;
        if (length > curve_end - at)
            length = curve_end - at;
        piece[n++] = (struct iovec){(char *)c->curve + start, length};
        at += length;
    }
    if (at == curve_end && at < c->length)
        piece[n++] = (struct iovec){"\n", 1};
    return n;
}

/* About TURN bytes of the answer, if the socket takes them. 0: the connection is gone. */
static int send_some(struct connection *c)
{
    for (uint64_t end = c->sent + TURN; c->sent < c->length && c->sent < end;) {
        struct iovec piece[PIECES + 2];
        ssize_t n = writev(c->fd, piece, pieces(c, piece));
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        c->sent += n;
    }
    return 1;
}

static void want(struct connection *c)
{
    uint32_t interest = c->due ? 0 : c->sent < c->length ? EPOLLOUT : EPOLLIN;
    struct epoll_event event = {interest, {.ptr = c}};
    if (interest != c->interest && epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event) == 0)
        c->interest = interest;
}

static void stop_waiting(struct connection *c)
{
    if (c->next)
        c->next->previous = c->previous;
    if (c->previous)
        c->previous->next = c->next;
    else
        waiting = c->next;
    c->due = 0;
}

static void drop(struct connection *c)
{
    if (c->due)
        stop_waiting(c);
    close(c->fd);
    free(c);
}

/* Answer and execute in turn, as far as it goes without waiting. */
static void go_on(struct connection *c)
{
    do {
        if (!c->due && !send_some(c)) {
            drop(c);
            return;
        }
        if (has_answer(c))
            break;
        execute_all(c);
    } while (has_answer(c) && !c->due);
    want(c);
}

static void receive(struct connection *c)
{
    ssize_t n = read(c->fd, c->in + c->held, LONGEST - c->held);
    if (n > 0)
        c->held += n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        drop(c);
        return;
    }
    go_on(c);
}

static void accept_all(struct port *p)
{
    int fd, on = 1;
    while ((fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        struct epoll_event event = {EPOLLIN, {.ptr = c}};
        if (!c)
            exit(1);
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        c->fd = fd;
        c->port = p;
        c->interest = EPOLLIN;
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Milliseconds until the next late answer, rounded up; those that are due go out. -1: there is none. */
static int late_answers(void)
{
    int64_t time = now(), next = -1;
    for (struct connection *c = waiting, *following; c; c = following) {
        following = c->next;
        if (c->due <= time) {
            stop_waiting(c);
            go_on(c);
        }
    }
    for (struct connection *c = waiting; c; c = c->next)
        if (next < 0 || c->due - time < next)
            next = c->due > time ? c->due - time : 0;
    return next < 0 ? -1 : (int)((next + 999999) / 1000000);
}

static int listen_on(struct port *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(p->listener, (struct sockaddr *)&address, length) || listen(p->listener, 4096)
        || getsockname(p->listener, (struct sockaddr *)&address, &length))
        return 0;
    p->number = ntohs(address.sin_port);
    return 1;
}

int main(int arguments, char **argument)
{
    int n = arguments > 1 ? atoi(argument[1]) : 1;
    struct port *ports = calloc(n, sizeof *ports);
    poller = epoll_create1(EPOLL_CLOEXEC);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    for (unsigned i = 0; i < PERIOD; i++) {
        pattern[i] = i * 167 + (i >> 8) * 13;
        letters[i] = "0123456789+-.,E,"[pattern[i] % 16];
    }
    for (int i = 0; i < n; i++) {
        struct epoll_event event = {EPOLLIN, {.ptr = ports + i}};
        if (!listen_on(ports + i) || epoll_ctl(poller, EPOLL_CTL_ADD, ports[i].listener, &event)) {
            perror("loopback");
            return 1;
        }
        printf("%d%c", ports[i].number, i == n - 1 ? '\n' : ' ');
    }
    fflush(stdout);
    struct epoll_event end = {EPOLLIN, {.ptr = NULL}}, event;
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &end);
    for (;;) {  /* one event at a time: a connection that is dropped is in no list of events */
        if (epoll_wait(poller, &event, 1, waiting ? late_answers() : -1) < 1)
            continue;
        void *who = event.data.ptr;
        struct connection *c = who;
        if (!who)
            return 0;
        if ((char *)who >= (char *)ports && (char *)who < (char *)(ports + n))
            accept_all(who);
        else if (c->due)
            drop(c);    /* only an error or a hang-up is heard of while an answer is late */
        else if (c->sent < c->length)
            go_on(c);
        else
            receive(c);
    }
}
