// One process at a time writes to a folder (a run's checkpoints) or a file (a packed data set). The second is refused with a
// sentence that says who has it: program, host, process, since when, Slurm job.
//
// Two signs, since no single one holds everywhere:
//
//   lock      of the lock file, by the kernel (open file description locks): gone with the process, however it dies; on NFS, Lustre
//             and GPFS seen by all hosts, where the file system is mounted so
//   content   of the lock file: JSON of who holds it, with a beat that counts on every few seconds. A holder on another host whose
//             lock cannot be seen from here, or whose host died and left its lock to the server, is told by its beat: if it counts
//             on while we watch, the holder lives
//
// A process that died on this host never blocks a restart; one that died on another blocks it for as long as we watch its beat
// (16 s) or the server keeps its lock, two minutes at most.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace mfl::io {

class SoleWriter {
 public:
  struct Waits {   // shorter in tests
    std::chrono::milliseconds beat{5000};      // between two beats of a holder
    std::chrono::milliseconds watch{16000};    // of another host's beat
    std::chrono::milliseconds dying{10000};    // for the lock of a process of this host, which may be on its way out: ranks notice
                                               // after some 3 s that their mpirun was killed
    std::chrono::milliseconds lease{120000};   // for the lock of another host that beats no more
  };
  // `program`: who holds it, in the sentence. Makes the folder. Throws ConfigError where another process holds it, DataError where
  // the lock file cannot be made.
  static std::unique_ptr<SoleWriter> of_folder(const std::filesystem::path& folder, std::string_view program);
  static std::unique_ptr<SoleWriter> of_folder(const std::filesystem::path& folder, std::string_view program, Waits);
  static std::unique_ptr<SoleWriter> of_file(const std::filesystem::path& file, std::string_view program);
  static std::unique_ptr<SoleWriter> of_file(const std::filesystem::path& file, std::string_view program, Waits);

  ~SoleWriter();   // the lock file goes
  SoleWriter(const SoleWriter&) = delete;
  SoleWriter& operator=(const SoleWriter&) = delete;

 private:
  SoleWriter(std::filesystem::path subject, std::filesystem::path lock_file, std::string_view program, Waits);
  void open();
  bool acquire();                 // false: the file system has no locks
  void beat_on();
  bool write_beat();
  [[noreturn]] void refuse(const std::string& holder, std::string_view more) const;

  std::filesystem::path subject_, lock_file_;
  Waits waits_;
  std::string identity_;          // of this holder, JSON without the beat
  int handle_ = -1;
  std::uint64_t beat_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread beating_;
};

}  // namespace mfl::io
