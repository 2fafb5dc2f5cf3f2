/* Preloaded into the gateway: a disk that is slow, or fails, a loop that hangs, a clock that
   is set, and names, as long as a file in $DISK_SHIM says so.
     slow    the seconds that every sync takes
     broken  every sync fails with EIO
     hang    the thread named "loop" never comes back from looking at the clock
     clock   the seconds by which the wall clock is set forward, or back
     name-X  the addresses of the name X, one a line; or "again", or "none", as name servers say,
             or "hang": they say nothing for a minute */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static FILE *switched(const char *name) {
    char path[4096];
    const char *dir = getenv("DISK_SHIM");
    if (!dir) return NULL;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return fopen(path, "re");
}

static int trouble(void) {
    FILE *f = switched("slow");
    if (f) {
        double seconds = 0;
        if (fscanf(f, "%lf", &seconds) != 1) seconds = 0;
        fclose(f);
        struct timespec t = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
        nanosleep(&t, NULL);
    }
    f = switched("broken");
    if (f) {
        fclose(f);
        errno = EIO;
        return -1;
    }
    return 0;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return trouble() ? -1 : real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return trouble() ? -1 : real(fd);
}

int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    static __thread int is_loop; /* 0: not looked, 1: it is, 2: it is not */
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (is_loop != 2) {
        char name[16] = "";
        pthread_getname_np(pthread_self(), name, sizeof name);
        is_loop = strcmp(name, "loop") == 0 ? 1 : name[0] && strcmp(name, "genesys-gateway") ? 2 : 0;
        FILE *f = is_loop == 1 ? switched("hang") : NULL;
        if (f) {
            fclose(f);
            for (;;) pause();
        }
    }
    int result = real(id, t);
    if (id == CLOCK_REALTIME) {
        FILE *f = switched("clock");
        long seconds;
        if (f) {
            if (fscanf(f, "%ld", &seconds) == 1) t->tv_sec += seconds;
            fclose(f);
        }
    }
    return result;
}

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    static lookup *real;
    if (!real) real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    char name[300], word[100];
    snprintf(name, sizeof name, "name-%s", node ? node : "");
    FILE *f = switched(name);
    if (!f) return real(node, service, hints, found);
    struct addrinfo numeric = {0}, **end = found;
    if (hints) numeric = *hints;
    numeric.ai_flags = AI_NUMERICHOST;
    *found = NULL;
    int result = EAI_NONAME;
    while (fscanf(f, "%99s", word) == 1) {
        if (!strcmp(word, "hang")) sleep(60);
        if (!strcmp(word, "again") || !strcmp(word, "hang")) { result = EAI_AGAIN; break; }
        if (real(word, service, &numeric, end)) continue;
        result = 0;
        /* The system's own freeaddrinfo frees them one by one. */
        while (*end) end = &(*end)->ai_next;
    }
    fclose(f);
    return result;
}
