/* A disk that fails and a clock that steps, for a process that knows nothing of it; and what it
   has of its heap.

   Loaded by LD_PRELOAD. SOAK_FAULTS names a file of the layout `Control` (faults.py has it, too),
   in which others say how often each kind of fault happens, and read how often it did. Only files
   below the folder SOAK_FOLDER are concerned: sockets, pipes and the code of the process are not.
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum Kind { NO_SPACE, IO_ERROR, INTERRUPTED, SHORT, NO_MAPPING, KINDS };

typedef struct {
  int64_t shift;          /* nanoseconds that the clock of the day is ahead */
  uint32_t chance[KINDS]; /* of a million calls that could fail in this way */
  uint32_t done[KINDS];   /* how often one did */
  uint64_t used, kept;    /* bytes of malloc and of Python: in blocks that are used, and beside */
  uint64_t objects;       /* those of Python that are used */
  uint32_t told;          /* 1: they have been written */
  uint32_t asked;         /* the process that is to write them */
} Control;

static volatile Control* control;
static char folder[4096];
static size_t folder_length;
static unsigned char ours[1 << 16]; /* descriptors of files below the folder */

#define REAL(name)                                                  \
  ({                                                                \
    static __typeof__(&name) found;                                 \
    if (!found) found = (__typeof__(&name))dlsym(RTLD_NEXT, #name); \
    found;                                                          \
  })

__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("SOAK_FAULTS"), *below = getenv("SOAK_FOLDER");
  if (!file || !below || strlen(below) + 2 > sizeof folder) return;
  folder_length = (size_t)sprintf(folder, "%s/", below);
  int descriptor = REAL(open)(file, O_RDWR | O_CLOEXEC);
  if (descriptor < 0) return;
  void* mapped =
      REAL(mmap)(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (mapped != MAP_FAILED) control = mapped;
  REAL(close)(descriptor);
}

static uint64_t drawn(void) {
  static __thread uint64_t state;
  if (!state) state = 0x9E3779B97F4A7C15u ^ (uintptr_t)&state ^ ((uint64_t)getpid() << 32);
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state >> 11;
}

/* Whether a fault of a kind happens now. */
static int happens(enum Kind kind) {
  if (!control || !control->chance[kind] || drawn() % 1000000 >= control->chance[kind]) return 0;
  __atomic_add_fetch(&control->done[kind], 1, __ATOMIC_RELAXED);
  return 1;
}

static int is_ours(int descriptor) {
  return control && descriptor >= 0 && descriptor < (int)sizeof ours && ours[descriptor];
}

static int is_below(const char* path) {
  return control && path && path[0] == '/' && !strncmp(path, folder, folder_length);
}

static int failed(int error) {
  errno = error;
  return -1;
}

/* The error of a call on a file; 0 for none. `writes`: it can find the disk full. */
static int error_of(int writes) {
  if (writes && happens(NO_SPACE)) return ENOSPC;
  if (happens(IO_ERROR)) return EIO;
  if (happens(INTERRUPTED)) return EINTR;
  return 0;
}

/* How much of so many bytes a call moves. */
static size_t cut(size_t size) {
  return size > 1 && happens(SHORT) ? 1 + drawn() % (size - 1) : size;
}

#define OPENED(descriptor, path)                                                              \
  int opened = (descriptor);                                                                  \
  if (opened >= 0 && opened < (int)sizeof ours) ours[opened] = (unsigned char)is_below(path); \
  return opened

#define OPEN(name, parameters, ...)                             \
  int name parameters {                                         \
    mode_t mode = 0;                                            \
    if (flags & (O_CREAT | O_TMPFILE)) {                        \
      va_list rest;                                             \
      va_start(rest, flags);                                    \
      mode = va_arg(rest, mode_t);                              \
      va_end(rest);                                             \
    }                                                           \
    int error = is_below(path) ? error_of(flags & O_CREAT) : 0; \
    if (error) return failed(error);                            \
    OPENED(REAL(name)(__VA_ARGS__, flags, mode), path);         \
  }

OPEN(open, (const char* path, int flags, ...), path)
OPEN(open64, (const char* path, int flags, ...), path)
OPEN(openat, (int at, const char* path, int flags, ...), at, path)
OPEN(openat64, (int at, const char* path, int flags, ...), at, path)

int close(int descriptor) {
  if (descriptor >= 0 && descriptor < (int)sizeof ours) ours[descriptor] = 0;
  return REAL(close)(descriptor);
}

#define MOVE(name, writes, buffer, ...)                                      \
  ssize_t name(int file, buffer bytes, size_t size __VA_OPT__(, off_t at)) { \
    if (is_ours(file)) {                                                     \
      int error = error_of(writes);                                          \
      if (error) return failed(error);                                       \
      size = cut(size);                                                      \
    }                                                                        \
    return REAL(name)(file, bytes, size __VA_OPT__(, at));                   \
  }

MOVE(read, 0, void*)
MOVE(pread, 0, void*, at)
MOVE(pread64, 0, void*, at)
MOVE(write, 1, const void*)
MOVE(pwrite, 1, const void*, at)
MOVE(pwrite64, 1, const void*, at)

/* Of several pieces only the first is moved where less is than was asked. */
#define PIECES(name, writes, parameters, ...) \
  ssize_t name parameters {                   \
    struct iovec first;                       \
    if (is_ours(file)) {                      \
      int error = error_of(writes);           \
      if (error) return failed(error);        \
      if (count > 0) {                        \
        first = pieces[0];                    \
        size_t size = cut(first.iov_len);     \
        if (size < first.iov_len) {           \
          first.iov_len = size;               \
          pieces = &first;                    \
          count = 1;                          \
        }                                     \
      }                                       \
    }                                         \
    return REAL(name)(__VA_ARGS__);           \
  }

PIECES(readv, 0, (int file, const struct iovec* pieces, int count), file, pieces, count)
PIECES(writev, 1, (int file, const struct iovec* pieces, int count), file, pieces, count)
PIECES(preadv64v2, 0, (int file, const struct iovec* pieces, int count, off_t at, int flags), file,
       pieces, count, at, flags)
PIECES(pwritev64v2, 1, (int file, const struct iovec* pieces, int count, off_t at, int flags), file,
       pieces, count, at, flags)

ssize_t sendfile64(int file, int from, off_t* at, size_t size) {
  int error = is_ours(file) ? error_of(1) : 0;
  return error ? failed(error) : REAL(sendfile64)(file, from, at, is_ours(file) ? cut(size) : size);
}

#define PLAIN(name, writes, parameters, ...)                \
  int name parameters {                                     \
    int error = is_ours(file) ? error_of(writes) : 0;       \
    return error ? failed(error) : REAL(name)(__VA_ARGS__); \
  }

PLAIN(fsync, 1, (int file), file)
PLAIN(fdatasync, 1, (int file), file)
PLAIN(ftruncate, 0, (int file, off_t size), file, size)
PLAIN(ftruncate64, 0, (int file, off_t size), file, size)

#define MAP(name)                                                                   \
  void* name(void* place, size_t size, int access, int flags, int file, off_t at) { \
    if (is_ours(file) && happens(NO_MAPPING)) {                                     \
      errno = ENOMEM;                                                               \
      return MAP_FAILED;                                                            \
    }                                                                               \
    return REAL(name)(place, size, access, flags, file, at);                        \
  }

MAP(mmap)
MAP(mmap64)

int rename(const char* from, const char* to) {
  if (is_below(to) && happens(NO_SPACE)) return failed(ENOSPC);
  if (is_below(to) && happens(IO_ERROR)) return failed(EIO);
  return REAL(rename)(from, to);
}

/* Of a process that runs Python. */
extern int Py_AddPendingCall(int (*call)(void*), void* given) __attribute__((weak));
extern ssize_t PyGC_Collect(void) __attribute__((weak));
extern int _PyObject_DebugMallocStats(FILE* output) __attribute__((weak));

/* The number behind a text, in which commas may be. */
static uint64_t number_behind(const char* text, const char* name) {
  const char* found = strstr(text, name);
  uint64_t number = 0;
  if (!found) return 0;
  for (found = strchr(found, '=') + 1; *found == ' ' || *found == ',' || isdigit(*found); ++found)
    if (isdigit(*found)) number = 10 * number + (uint64_t)(*found - '0');
  return number;
}

/* Say what the heap is. Python calls this between two steps of its main thread. */
static int tell(void* given) {
  char* text = NULL;
  size_t size = 0;
  PyGC_Collect(); /* garbage that waits for a collection is not in use */
  struct mallinfo2 heap = mallinfo2();
  FILE* output = open_memstream(&text, &size);
  _PyObject_DebugMallocStats(output);
  fclose(output);
  uint64_t objects = number_behind(text, "# bytes in allocated blocks");
  control->objects = objects;
  control->used = heap.uordblks + heap.hblkhd + objects;
  control->kept = heap.fordblks + number_behind(text, " bytes/arena") - objects;
  free(text);
  (void)given;
  __atomic_store_n(&control->told, 1, __ATOMIC_RELEASE);
  return 0;
}

/* Asking for the time is what every process does now and then. */
static void look_who_is_asked(void) {
  if (!Py_AddPendingCall || control->asked != (uint32_t)getpid()) return;
  if (__atomic_exchange_n(&control->asked, 0, __ATOMIC_ACQ_REL)) Py_AddPendingCall(tell, NULL);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  int status = REAL(clock_gettime)(clock, now);
  if (control && control->asked) look_who_is_asked();
  if (!status && control && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    int64_t nanoseconds = now->tv_nsec + control->shift % 1000000000;
    now->tv_sec += control->shift / 1000000000;
    if (nanoseconds < 0) {
      nanoseconds += 1000000000;
      now->tv_sec -= 1;
    } else if (nanoseconds >= 1000000000) {
      nanoseconds -= 1000000000;
      now->tv_sec += 1;
    }
    now->tv_nsec = nanoseconds;
  }
  return status;
}

int gettimeofday(struct timeval* now, void* zone) {
  struct timespec exact;
  (void)zone;
  clock_gettime(CLOCK_REALTIME, &exact);
  now->tv_sec = exact.tv_sec;
  now->tv_usec = exact.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* result) {
  struct timespec exact;
  clock_gettime(CLOCK_REALTIME, &exact);
  if (result) *result = exact.tv_sec;
  return exact.tv_sec;
}
