// Loaded into a process with LD_PRELOAD: counts its changes to the files of one folder and makes one of them go wrong.
//   FAULT_FOLDER  changes to paths that begin with this count, from 1 on
//   FAULT_LOG     a file (elsewhere) that gets a line "call path" for every change
//   FAULT_AT      the change that goes wrong; 0: none
//   FAULT_KIND    kill     the process is killed just before the change
//                 full     the change and all later ones that need space fail with ENOSPC
//                 short    the change, a write, writes half of its bytes; then as full
//                 io       the change alone fails with EIO
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { GOES_WELL, HALF };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long count;
static int is_full;

static void *next(const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!real)
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    return real(RTLD_NEXT, name);
}
#define REAL(result, name, ...) static result (*real_##name)(__VA_ARGS__); if (!real_##name) real_##name = next(#name)

static int counts(const char *path)
{
    const char *folder = getenv("FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int counts_at(int descriptor, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = 0;
    return counts(path);
}

// 0: go on; HALF: write half; -1: fail with errno. needs_space: whether a full disk refuses it.
static int change(const char *call, const char *path, int needs_space)
{
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND"), *log = getenv("FAULT_LOG");
    pthread_mutex_lock(&lock);
    count++;
    int is_it = at && count == atol(at);
    if (log) {
        static int file = -1;
        REAL(int, open, const char *, int, ...);
        REAL(ssize_t, write, int, const void *, size_t);
        char line[PATH_MAX + 32];
        if (file < 0)
            file = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        int length = snprintf(line, sizeof line, "%s %s\n", call, path);
        if (real_write(file, line, length) != length)
            abort();
    }
    int answer = GOES_WELL;
    if (is_it && strcmp(kind, "kill") == 0) {
        kill(getpid(), SIGKILL);
        pause();
    }
    if (is_it && strcmp(kind, "io") == 0) {
        errno = EIO;
        answer = -1;
    } else if (is_it && strcmp(kind, "short") == 0 && strstr(call, "write")) {
        is_full = 1;
        answer = HALF;
    } else if (is_it && strcmp(kind, "io") != 0 && at[0] != '0') {
        is_full = 1;
    }
    if (answer == GOES_WELL && is_full && needs_space) {
        errno = ENOSPC;
        answer = -1;
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

static int creates(const char *path, int flags) { return counts(path) && (flags & (O_CREAT | O_TRUNC)); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(int, name, const char *, int, ...); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (creates(path, flags) && access(path, F_OK) != 0 && change("create", path, 1) < 0) \
            return -1; \
        return real_##name(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

#define WRITE(name, ...) \
    { \
        char path[PATH_MAX]; \
        if (counts_at(descriptor, path)) { \
            int answer = change(#name, path, 1); \
            if (answer < 0) \
                return -1; \
            if (answer == HALF) \
                size = size / 2; \
            if (size == 0 && answer == HALF) { \
                errno = ENOSPC; \
                return -1; \
            } \
        } \
        return real_##name(__VA_ARGS__); \
    }
ssize_t write(int descriptor, const void *bytes, size_t size)
{
    REAL(ssize_t, write, int, const void *, size_t);
    WRITE(write, descriptor, bytes, size)
}
ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    REAL(ssize_t, pwrite, int, const void *, size_t, off_t);
    WRITE(pwrite, descriptor, bytes, size, offset)
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t offset)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    WRITE(pwrite64, descriptor, bytes, size, offset)
}

#define ON_DESCRIPTOR(name, parameters, arguments, needs_space) \
    int name parameters \
    { \
        static int (*real) parameters; \
        if (!real) \
            real = next(#name); \
        char path[PATH_MAX]; \
        return counts_at(descriptor, path) && change(#name, path, needs_space) < 0 ? -1 : real arguments; \
    }
ON_DESCRIPTOR(ftruncate, (int descriptor, off_t length), (descriptor, length), 0)
ON_DESCRIPTOR(ftruncate64, (int descriptor, off64_t length), (descriptor, length), 0)
ON_DESCRIPTOR(fsync, (int descriptor), (descriptor), 1)

#define ON_PATH(name, parameters, arguments, needs_space) \
    int name parameters \
    { \
        static int (*real) parameters; \
        if (!real) \
            real = next(#name); \
        return counts(path) && change(#name, path, needs_space) < 0 ? -1 : real arguments; \
    }
ON_PATH(unlink, (const char *path), (path), 0)
ON_PATH(rmdir, (const char *path), (path), 0)
ON_PATH(rename, (const char *path, const char *to), (path, to), 0)
ON_PATH(link, (const char *path, const char *to), (path, to), 0)

int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, const char *, mode_t);
    return counts(path) && access(path, F_OK) != 0 && change("mkdir", path, 1) < 0 ? -1 : real_mkdir(path, mode);
}

int renameat2(int from_folder, const char *path, int to_folder, const char *to, unsigned flags)
{
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    return counts(path) && change("exchange", path, 0) < 0 ? -1 : real_renameat2(from_folder, path, to_folder, to, flags);
}

// What is called through P/Invoke is looked up in libc itself, past this library.
void *dlsym(void *handle, const char *name)
{
    static void *(*real)(void *, const char *);
    if (!real)
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.34");
    if (!real)
        real = dlvsym(RTLD_NEXT, "dlsym", "GLIBC_2.2.5");
    if (strcmp(name, "renameat2") == 0)
        return renameat2;
    if (strcmp(name, "rename") == 0)
        return rename;
    if (strcmp(name, "fsync") == 0)
        return fsync;
    return real(handle, name);
}
