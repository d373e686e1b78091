// Programs under test that are stopped, killed, and looked at from outside.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace mfl::test {

using Environment = std::map<std::string, std::string>;

class Child {
 public:
  // Output of both streams goes to the file `said`, which is begun anew.
  Child(const std::vector<std::string>& command, const Environment& environment, std::filesystem::path said) : said_(std::move(said)) {
    std::vector<char*> arguments;
    for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);   // nothing outlives the test
    const int out = ::open(said_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    ::dup2(out, STDOUT_FILENO), ::dup2(out, STDERR_FILENO);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ~Child() {
    if (code_) return;
    kill();
    wait();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  int pid() const { return pid_; }
  void kill(int signal = SIGKILL) const { ::kill(pid_, signal); }
  // Its exit code, or 128 and the signal that ended it; nothing while it runs.
  std::optional<int> code() {
    int status = 0;
    if (!code_ && ::waitpid(pid_, &status, WNOHANG) == pid_) code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return code_;
  }
  int wait() {
    while (!code()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return *code_;
  }
  std::string said() const {
    std::ifstream in(said_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::filesystem::path said_;
  pid_t pid_ = -1;
  std::optional<int> code_;
};

// Processes whose parent is this one.
inline std::vector<int> children_of(int parent) {
  std::vector<int> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const int pid = std::atoi(entry.path().filename().c_str());
    std::ifstream in(entry.path() / "stat");
    std::string stat;
    if (pid <= 0 || !std::getline(in, stat)) continue;
    char state = 0;
    int of = 0;
    if (std::sscanf(stat.c_str() + stat.rfind(')') + 1, " %c %d", &state, &of) == 2 && of == parent) found.push_back(pid);
  }
  return found;
}

}  // namespace mfl::test
