// A library to preload into a program under test: calls that write files fail, dawdle, damage what they write, or kill the process,
// at a chosen call. Calls are counted where they concern a chosen file, from 1 on, over the whole life of the process.
//
//   MFL_FAULT_MATCH    parts of paths, separated by ':'; a call that has none of them in its path goes through, uncounted
//   MFL_FAULT_AT       the first call that is faulty; unset or 0: none
//   MFL_FAULT_COUNT    how many calls from there on are (default: all)
//   MFL_FAULT_KIND     ENOSPC, EIO, EROFS, EDQUOT, EACCES: the call fails so
//                      short: a write takes half of the bytes (no error: the caller must go on)
//                      kill, kill_after: SIGKILL before or after the call is done
//                      corrupt: a write writes one bit wrong;  decay: a bit of the file turns after fsync has returned it as safe
//   MFL_FAULT_SLOW_US  every counted call first sleeps so long
//   MFL_FAULT_TRACE    a file that gets a line for each counted call: number, name, path
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

long number(const char* name, long otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? std::atol(value) : otherwise;
}

struct Plan {
  std::vector<std::string> match;
  long at = number("MFL_FAULT_AT", 0), count = number("MFL_FAULT_COUNT", 1L << 40), slow = number("MFL_FAULT_SLOW_US", 0);
  std::string kind;
  int error = 0, trace = -1;
  Plan() {
    if (const char* m = std::getenv("MFL_FAULT_MATCH"))
      for (std::string rest = m; !rest.empty();) {
        const std::size_t end = std::min(rest.find(':'), rest.size());
        if (end) match.push_back(rest.substr(0, end));
        rest.erase(0, end + 1);
      }
    if (const char* k = std::getenv("MFL_FAULT_KIND")) kind = k;
    error = kind == "ENOSPC" ? ENOSPC : kind == "EIO" ? EIO : kind == "EROFS" ? EROFS : kind == "EDQUOT" ? EDQUOT : kind == "EACCES" ? EACCES : 0;
    if (const char* t = std::getenv("MFL_FAULT_TRACE")) trace = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, t, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
  }
};
const Plan& plan() {
  static const Plan* p = new Plan;   // never destroyed: files are written until the very end
  return *p;
}
std::atomic<long> calls{0};

std::string path_of(int handle) {
  char link[64], path[4096];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
  const ssize_t n = ::readlink(link, path, sizeof path);
  return n > 0 ? std::string(path, static_cast<std::size_t>(n)) : std::string();
}

// A call on a file; says what is to become of it.
class Call {
 public:
  Call(const char* name, const std::string& path) {
    const int before = errno;
    const Plan& p = plan();
    bool counted = false;
    for (const std::string& m : p.match) counted |= path.find(m) != std::string::npos;
    if (counted) {
      const long n = ++calls;
      if (p.trace >= 0) {
        const std::string line = std::to_string(n) + ' ' + name + ' ' + path + '\n';
        [[maybe_unused]] const long written = ::syscall(SYS_write, p.trace, line.data(), line.size());
      }
      if (p.slow) ::usleep(static_cast<useconds_t>(p.slow));
      faulty_ = p.at > 0 && n >= p.at && n - p.at < p.count;
      if (faulty_ && p.kind == "kill") ::kill(::getpid(), SIGKILL);
    }
    errno = before;
  }
  ~Call() {
    if (faulty_ && plan().kind == "kill_after") ::kill(::getpid(), SIGKILL);
  }
  bool fails() const {
    if (!faulty_ || !plan().error) return false;
    errno = plan().error;
    return true;
  }
  bool is(const char* kind) const { return faulty_ && plan().kind == kind; }

 private:
  bool faulty_ = false;
};

template <class F>
F next(const char* name) {
  return reinterpret_cast<F>(::dlsym(RTLD_NEXT, name));
}

// write, pwrite: `done` writes bytes of the buffer that it is given.
template <class F>
ssize_t write_with(const char* name, int handle, const void* bytes, std::size_t n, F done) {
  const Call call(name, path_of(handle));
  if (call.fails()) return -1;
  if (call.is("short") && n > 1) return done(bytes, n / 2);
  if (call.is("corrupt") && n > 0) {
    std::vector<char> wrong(static_cast<const char*>(bytes), static_cast<const char*>(bytes) + n);
    wrong[n / 2] ^= 0x10;
    return done(wrong.data(), n);
  }
  return done(bytes, n);
}

void decay(int handle) {
  const std::string path = path_of(handle);
  const int file = static_cast<int>(::syscall(SYS_openat, AT_FDCWD, path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat s {};
  char c = 0;
  if (file < 0 || ::fstat(file, &s) != 0 || !S_ISREG(s.st_mode) || s.st_size < 2 || ::pread(file, &c, 1, s.st_size / 2) != 1) return;
  c ^= 0x10;
  [[maybe_unused]] const long written = ::syscall(SYS_pwrite64, file, &c, 1, s.st_size / 2);
  ::syscall(SYS_fsync, file);
  ::close(file);
}
int sync_with(const char* name, int handle) {
  const Call call(name, path_of(handle));
  if (call.fails()) return -1;
  const int code = next<int (*)(int)>(name)(handle);
  if (call.is("decay")) decay(handle);
  return code;
}

bool writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT); }

}  // namespace

#define MFL_OPEN(NAME)                                                \
  int NAME(const char* path, int flags, ...) {                        \
    va_list more;                                                     \
    va_start(more, flags);                                            \
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;   \
    va_end(more);                                                     \
    const Call call(#NAME, writes(flags) ? path : "");                \
    if (call.fails()) return -1;                                      \
    return next<int (*)(const char*, int, ...)>(#NAME)(path, flags, mode); \
  }
#define MFL_OPENAT(NAME)                                              \
  int NAME(int at, const char* path, int flags, ...) {                \
    va_list more;                                                     \
    va_start(more, flags);                                            \
    const mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;   \
    va_end(more);                                                     \
    const Call call(#NAME, writes(flags) ? path : "");                \
    if (call.fails()) return -1;                                      \
    return next<int (*)(int, const char*, int, ...)>(#NAME)(at, path, flags, mode); \
  }
#define MFL_FOPEN(NAME)                                               \
  FILE* NAME(const char* path, const char* mode) {                    \
    const Call call(#NAME, std::strpbrk(mode, "wa+") ? path : "");    \
    if (call.fails()) return nullptr;                                 \
    return next<FILE* (*)(const char*, const char*)>(#NAME)(path, mode); \
  }

extern "C" {

MFL_OPEN(open)
MFL_OPEN(open64)
MFL_OPENAT(openat)
MFL_OPENAT(openat64)
MFL_FOPEN(fopen)
MFL_FOPEN(fopen64)

ssize_t write(int handle, const void* bytes, size_t n) {
  return write_with("write", handle, bytes, n,
                    [&](const void* b, size_t k) { return next<ssize_t (*)(int, const void*, size_t)>("write")(handle, b, k); });
}
ssize_t pwrite(int handle, const void* bytes, size_t n, off_t at) {
  return write_with("pwrite", handle, bytes, n,
                    [&](const void* b, size_t k) { return next<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite")(handle, b, k, at); });
}
ssize_t pwrite64(int handle, const void* bytes, size_t n, off64_t at) {
  return write_with("pwrite64", handle, bytes, n,
                    [&](const void* b, size_t k) { return next<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64")(handle, b, k, at); });
}
ssize_t writev(int handle, const struct iovec* parts, int n) {
  const Call call("writev", path_of(handle));
  if (call.fails()) return -1;
  return next<ssize_t (*)(int, const struct iovec*, int)>("writev")(handle, parts, n);
}
ssize_t sendfile(int to, int from, off_t* at, size_t n) {
  const Call call("sendfile", path_of(to));
  if (call.fails()) return -1;
  return next<ssize_t (*)(int, int, off_t*, size_t)>("sendfile")(to, from, at, n);
}
ssize_t copy_file_range(int from, off64_t* at, int to, off64_t* there, size_t n, unsigned flags) {
  const Call call("copy_file_range", path_of(to));
  if (call.fails()) return -1;
  return next<ssize_t (*)(int, off64_t*, int, off64_t*, size_t, unsigned)>("copy_file_range")(from, at, to, there, n, flags);
}
int fsync(int handle) { return sync_with("fsync", handle); }
int fdatasync(int handle) { return sync_with("fdatasync", handle); }
int ftruncate(int handle, off_t n) {
  const Call call("ftruncate", path_of(handle));
  return call.fails() ? -1 : next<int (*)(int, off_t)>("ftruncate")(handle, n);
}
int rename(const char* from, const char* to) {
  const Call call("rename", std::string(from) + " " + to);
  return call.fails() ? -1 : next<int (*)(const char*, const char*)>("rename")(from, to);
}
int renameat2(int a, const char* from, int b, const char* to, unsigned flags) {
  const Call call("renameat2", std::string(from) + " " + to);
  return call.fails() ? -1 : next<int (*)(int, const char*, int, const char*, unsigned)>("renameat2")(a, from, b, to, flags);
}
int unlink(const char* path) {
  const Call call("unlink", path);
  return call.fails() ? -1 : next<int (*)(const char*)>("unlink")(path);
}
int unlinkat(int at, const char* path, int flags) {
  const Call call("unlinkat", path);
  return call.fails() ? -1 : next<int (*)(int, const char*, int)>("unlinkat")(at, path, flags);
}
int remove(const char* path) {
  const Call call("remove", path);
  return call.fails() ? -1 : next<int (*)(const char*)>("remove")(path);
}
int mkdir(const char* path, mode_t mode) {
  const Call call("mkdir", path);
  return call.fails() ? -1 : next<int (*)(const char*, mode_t)>("mkdir")(path, mode);
}
int rmdir(const char* path) {
  const Call call("rmdir", path);
  return call.fails() ? -1 : next<int (*)(const char*)>("rmdir")(path);
}

}  // extern "C"
