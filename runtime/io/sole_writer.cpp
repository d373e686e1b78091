#include "runtime/io/sole_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/error.h"
#include "runtime/io/io_remedy.h"
#include "runtime/log.h"

namespace mfl::io {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;
using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::size_t kBytes = 1024;   // of a lock file: beats never change its size, so that a full disk does not stop them

std::string first_line(const fs::path& file) {
  std::ifstream in(file);
  std::string line;
  std::getline(in, line);
  return line;
}
// Of a process of this host: clock ticks from the start of the system to its own, so that a number that is used again is told
// apart. 0: there is no such process.
std::uint64_t start_of(long pid) {
  const std::string stat = first_line(text("/proc/", pid, "/stat"));
  const std::size_t after_name = stat.rfind(')');   // a name may hold blanks
  if (after_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(after_name + 1));
  std::string field;
  for (int i = 3; i <= 22; ++i) fields >> field;    // proc(5): starttime is the 22nd
  return std::strtoull(field.c_str(), nullptr, 10);
}
std::string process_ids() {   // which processes a number means: containers count their own
  std::error_code none;
  return fs::read_symlink("/proc/self/ns/pid", none).string();
}
std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "an unknown host";
}
std::string now() {
  const std::time_t t = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&t, &utc);
  char s[32];
  std::strftime(s, sizeof s, "%Y-%m-%d %H:%M:%S UTC", &utc);
  return s;
}
std::string boot() {   // of this system, until it starts anew: containers have host names of their own, and may share one
  const std::string id = first_line("/proc/sys/kernel/random/boot_id");
  return id.empty() ? host_name() : id;
}

json identity_of(std::string_view program) {
  json j = {{"program", program}, {"host", host_name()}, {"pid", ::getpid()}, {"since", now()},
            {"boot", boot()}, {"processes", process_ids()}, {"start", start_of(::getpid())}};
  if (const char* job = std::getenv("SLURM_JOB_ID")) j["job"] = job;
  return j;
}

// What a lock file says; nothing if it is empty or cannot be read.
std::optional<json> read_holder(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);   // opened anew: network file systems look at the server then
  std::string s(kBytes, '\0');
  in.read(s.data(), kBytes);
  s.resize(static_cast<std::size_t>(in.gcount()));
  json j = json::parse(s, nullptr, false);
  if (!j.is_object()) return {};
  return j;
}
template <class T>
T field(const json& j, const char* name, T otherwise) {
  const auto at = j.find(name);
  if (at == j.end()) return otherwise;
  try {
    return at->get<T>();
  } catch (const json::exception&) {   // another program's file, or a damaged one
    return otherwise;
  }
}
std::string words(const json& j, const char* name) { return field<std::string>(j, name, ""); }
std::string named(const std::optional<json>& holder) {
  if (!holder) return "another process, which has not said who it is";
  const std::string job = words(*holder, "job");
  return text(words(*holder, "program"), ", process ", field<long>(*holder, "pid", 0), " on host ", words(*holder, "host"), ", since ", words(*holder, "since"),
              job.empty() ? "" : ", Slurm job " + job);
}

enum class Lock { taken, held, unknown };   // unknown: this file system has none
Lock try_lock(int handle) {
  struct flock whole {};
  whole.l_type = F_WRLCK, whole.l_whence = SEEK_SET;
  if (::fcntl(handle, F_OFD_SETLK, &whole) == 0) return Lock::taken;
  return errno == EAGAIN || errno == EACCES ? Lock::held : Lock::unknown;
}

bool same_system(const json& holder) { return words(holder, "boot") == boot(); }
// Where locks do not tell: whether a holder of this system is still there. Its number means something among its own processes only.
std::optional<bool> lives_here(const json& holder) {
  if (!same_system(holder) || words(holder, "processes") != process_ids()) return {};
  const std::uint64_t start = start_of(field<long>(holder, "pid", 0));
  return start != 0 && start == field<std::uint64_t>(holder, "start", 0);
}

}  // namespace

std::unique_ptr<SoleWriter> SoleWriter::of_folder(const fs::path& folder, std::string_view program) { return of_folder(folder, program, {}); }
std::unique_ptr<SoleWriter> SoleWriter::of_file(const fs::path& file, std::string_view program) { return of_file(file, program, {}); }

std::unique_ptr<SoleWriter> SoleWriter::of_folder(const fs::path& folder, std::string_view program, Waits w) {
  std::error_code bad;
  fs::create_directories(folder, bad);
  if (bad) throw_error<DataError>("The folder ", folder.string(), " cannot be made: ", bad.message(), ".", io_remedy(bad.value()));
  return std::unique_ptr<SoleWriter>(new SoleWriter(folder, folder / ".mfl.lock", program, w));
}
std::unique_ptr<SoleWriter> SoleWriter::of_file(const fs::path& file, std::string_view program, Waits w) {
  const fs::path parent = file.has_parent_path() ? file.parent_path() : fs::path(".");
  std::error_code bad;
  fs::create_directories(parent, bad);
  if (bad) throw_error<DataError>("The folder ", parent.string(), " cannot be made: ", bad.message(), ".", io_remedy(bad.value()));
  return std::unique_ptr<SoleWriter>(new SoleWriter(file, parent / text('.', file.filename().string(), ".lock"), program, w));
}

SoleWriter::SoleWriter(fs::path subject, fs::path lock_file, std::string_view program, Waits w)
    : subject_(std::move(subject)), lock_file_(std::move(lock_file)), waits_(w), identity_(identity_of(program).dump()) {
  try {
    const bool locked = acquire(), written = write_beat();
    if (!written)
      log_warning(lock_file_.string(), " cannot be written (", std::strerror(errno), "): a second run is refused without saying by whom",
                  locked ? "" : ", or not at all, since this file system has no locks");
    if (!locked && written) {   // two at once: the one that wrote last has it
      std::this_thread::sleep_for(waits_.beat / 10);
      const std::optional<json> holder = read_holder(lock_file_);
      json mine = json::parse(identity_);
      mine["beat"] = 0;
      if (holder && *holder != mine) refuse(named(holder), "");
    }
  } catch (...) {
    if (handle_ >= 0) ::close(handle_);
    throw;
  }
  beating_ = std::thread([this] { beat_on(); });
}

SoleWriter::~SoleWriter() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  beating_.join();
  ::unlink(lock_file_.c_str());   // before the lock goes: whoever gets the lock of a removed file opens the path again
  ::close(handle_);
}

void SoleWriter::open() {
  if (handle_ >= 0) ::close(handle_);
  handle_ = ::open(lock_file_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (handle_ < 0)
    throw_error<DataError>(subject_.string(), " cannot be taken for writing: ", lock_file_.string(), " cannot be opened: ", std::strerror(errno), ".",
                           io_remedy(errno));
}

bool SoleWriter::acquire() {
  const auto began = Clock::now();
  std::optional<json> seen;        // the holder as first seen, with its beat
  bool told = false;
  for (;;) {
    open();
    const Lock lock = try_lock(handle_);
    if (lock == Lock::taken) {     // of the file that the path names? Its last holder may have removed it in between.
      struct stat mine {}, there {};
      if (::fstat(handle_, &mine) != 0 || ::stat(lock_file_.c_str(), &there) != 0 || mine.st_ino != there.st_ino || mine.st_dev != there.st_dev) continue;
    }
    const std::optional<json> holder = read_holder(lock_file_);
    const auto waited = Clock::now() - began;
    if (lock != Lock::held) {
      if (!holder) return lock == Lock::taken;                              // nobody, or released
      const bool dead_here = lock == Lock::taken ? same_system(*holder) : !lives_here(*holder).value_or(true);
      if (dead_here) {
        log_info(subject_.string(), " was held by ", named(holder), ", which is gone without an end: going on");
        return lock == Lock::taken;
      }
      if (lock == Lock::unknown && lives_here(*holder).value_or(false)) refuse(named(holder), "");
    }
    const bool elsewhere = holder && !same_system(*holder);
    if (elsewhere && seen && *seen != *holder) refuse(named(holder), "");   // it beats, or another one was faster
    if (elsewhere && !seen) seen = holder;
    if (lock == Lock::held && !elsewhere && waited > waits_.dying) refuse(named(holder), "");
    if (lock != Lock::held && waited > waits_.watch) {
      log_info(subject_.string(), " was held by ", named(holder), ", which has given no sign of life for ",
               std::chrono::duration_cast<std::chrono::seconds>(waits_.watch).count(), " s: going on");
      return lock == Lock::taken;
    }
    if (lock == Lock::held && waited > waits_.lease)
      refuse(named(holder), text(" It gives no sign of life, but the file system still holds its lock: if that host is down, remove ", lock_file_.string(), "."));
    if ((elsewhere || waited > waits_.dying / 10) && !std::exchange(told, true))
      log_info(subject_.string(), " is held by ", named(holder), elsewhere ? ": watching whether that one lives" : ": waiting, in case that one is ending");
    std::this_thread::sleep_for(std::min(waits_.beat / 10, milliseconds(500)));
  }
}

void SoleWriter::refuse(const std::string& holder, std::string_view more) const {
  throw_error<ConfigError>(subject_.string(), " is in use by ", holder, ". Two of them would overwrite each other's files: wait for that one or stop it, ",
                           "or write to another place (--output).", more);
}

bool SoleWriter::write_beat() {
  std::string s = identity_;
  s.insert(s.size() - 1, text(",\"beat\":", beat_++));
  s.resize(kBytes - 1, ' ');
  s += '\n';
  return ::pwrite(handle_, s.data(), s.size(), 0) == static_cast<ssize_t>(s.size()) && ::fdatasync(handle_) == 0;
}

void SoleWriter::beat_on() {
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, waits_.beat, [&] { return ending_; })) {
    lock.unlock();
    write_beat();   // a beat that fails is one less; the next follows
    lock.lock();
  }
}

}  // namespace mfl::io
