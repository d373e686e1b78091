// Error types and checks.
//
// Errors are sentences for the person who made the mistake: what was expected, what came, where, what to do. A person's
// mistake (a file, a key, a command line) is thrown with `throw_error<ConfigError>(...)` and carries no source location; a
// broken precondition of a function is thrown by MFL_CHECK and carries one. Programs turn the type into an exit code.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace mfl {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct ShapeError : Error { using Error::Error; };   // the caller passed the wrong tensor
struct ConfigError : Error { using Error::Error; };  // a key or a command line is wrong; names the nearest right one
struct DataError : Error { using Error::Error; };    // a data file, image, checkpoint or weight file is wrong or missing
struct OutOfMemory : Error { using Error::Error; };  // names the largest live blocks and their purpose
struct DeviceError : Error { using Error::Error; };  // CUDA, cuDNN, cuBLAS, with the library's own text
struct CommError : Error { using Error::Error; };    // NCCL or MPI; brings every rank down

// Process exit codes. Documented in README.md.
enum ExitCode : int {
  kExitOk = 0,
  kExitFailure = 1,       // a bug: anything that is not listed below
  kExitConfig = 2,        // command line or configuration
  kExitData = 3,          // data set, checkpoint or weight file
  kExitMemory = 4,        // does not fit
  kExitDevice = 5,        // CUDA or another device library
  kExitComm = 6,          // a collective failed
  kExitNotFinite = 7,     // training diverged
  kExitRequeue = 75,      // stopped by a signal after writing a checkpoint: start again to continue
};
int exit_code(const std::exception&) noexcept;

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  ((out << parts), ...);
  return out.str();
}

template <class E, class... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  throw E(text(parts...));
}

template <class E, class... Parts>
[[noreturn]] void fail(const char* file, int line, const Parts&... parts) {
  throw E(text(parts..., "  [", file, ':', line, ']'));
}

}  // namespace mfl

// Precondition of a function, in all builds: throws mfl::ShapeError with the parts that follow.
#define MFL_CHECK(cond, ...)                                                          \
  do {                                                                                \
    if (!(cond)) [[unlikely]] ::mfl::fail<::mfl::ShapeError>(__FILE__, __LINE__, __VA_ARGS__); \
  } while (0)

// What only a programmer can break. Debug builds only.
#ifdef NDEBUG
#define MFL_ASSERT(cond) ((void)0)
#else
#define MFL_ASSERT(cond)                                                              \
  do {                                                                                \
    if (!(cond)) [[unlikely]] ::mfl::fail<::mfl::Error>(__FILE__, __LINE__, "assertion failed: ", #cond); \
  } while (0)
#endif
