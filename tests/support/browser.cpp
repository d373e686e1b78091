#include "tests/support/browser.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

extern char** environ;

namespace mfl::test {

namespace fs = std::filesystem;
using nlohmann::json;
using namespace std::chrono_literals;

fs::path Browser::program() {
  if (const char* set = std::getenv("MFL_CHROMIUM")) return set;
  for (const char* name : {"/usr/bin/chromium", "/usr/bin/google-chrome"}) {
    std::error_code none;
    const fs::path real = fs::canonical(name, none);
    if (!none && real.filename() != "snap") return name;
  }
  return {};
}

Browser::Browser(const fs::path& program, const std::vector<std::string>& more_flags) {
  std::string folder = (fs::temp_directory_path() / "mfl_browser_XXXXXX").string();
  if (!::mkdtemp(folder.data())) throw std::runtime_error("no folder for the browser's profile");
  profile_ = folder;
  // Running as root needs --no-sandbox; a container's /dev/shm is small.
  std::vector<std::string> words = {program.string(),
                                    "--headless",
                                    "--no-sandbox",
                                    "--remote-debugging-pipe",
                                    "--no-first-run",
                                    "--use-gl=angle",
                                    "--use-angle=swiftshader",
                                    "--enable-unsafe-swiftshader",
                                    "--disable-dev-shm-usage",
                                    "--force-device-scale-factor=1",
                                    "--window-size=1000,700",
                                    "--user-data-dir=" + folder};
  words.insert(words.end(), more_flags.begin(), more_flags.end());
  words.push_back("about:blank");
  std::vector<char*> arguments;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);

  int in[2], out[2];
  if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("no pipes for the browser");
  // The browser reads descriptor 3 and writes descriptor 4; ours may be in their places, so both move up first.
  const int read_end = ::fcntl(in[0], F_DUPFD_CLOEXEC, 10), write_end = ::fcntl(out[1], F_DUPFD_CLOEXEC, 10);
  to_ = ::fcntl(in[1], F_DUPFD_CLOEXEC, 10), from_ = ::fcntl(out[0], F_DUPFD_CLOEXEC, 10);
  for (const int d : {in[0], in[1], out[0], out[1]}) ::close(d);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, read_end, 3);
  posix_spawn_file_actions_adddup2(&files, write_end, 4);
  for (const int d : {STDOUT_FILENO, STDERR_FILENO})
    posix_spawn_file_actions_addopen(&files, d, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t own_group;  // so that the end reaches all of its processes
  posix_spawnattr_init(&own_group);
  posix_spawnattr_setflags(&own_group, POSIX_SPAWN_SETPGROUP);
  const int failed = ::posix_spawn(&process_, program.c_str(), &files, &own_group, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&own_group);
  ::close(read_end), ::close(write_end);
  if (failed != 0) throw std::runtime_error(program.string() + " did not start");
  const json target = call("Target.createTarget", {{"url", "about:blank"}});
  session_ = call("Target.attachToTarget", {{"targetId", target["targetId"]}, {"flatten", true}})["sessionId"];
}

Browser::~Browser() {
  if (process_ > 0) {
    ::kill(-process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(to_), ::close(from_);
  std::error_code left;
  for (int i = 0; i < 20 && fs::exists(profile_, left); ++i) {  // its last processes may still be writing
    fs::remove_all(profile_, left);
    if (left) std::this_thread::sleep_for(50ms);
  }
}

json Browser::receive() {
  for (;;) {
    if (const auto end = unread_.find('\0'); end != std::string::npos) {
      const json message = json::parse(unread_.substr(0, end));
      unread_.erase(0, end + 1);
      return message;
    }
    pollfd ready{from_, POLLIN, 0};
    char piece[1 << 16];
    const ssize_t n = ::poll(&ready, 1, 60000) == 1 ? ::read(from_, piece, sizeof piece) : 0;
    if (n <= 0) throw std::runtime_error("the browser has ended, or has been silent for a minute");
    unread_.append(piece, static_cast<std::size_t>(n));
  }
}

json Browser::call(const std::string& method, json parameters) {
  const int id = ++calls_;
  json request = {{"id", id}, {"method", method}, {"params", std::move(parameters)}};
  if (!session_.empty()) request["sessionId"] = session_;
  const std::string text = request.dump();
  for (std::size_t sent = 0; sent <= text.size();) {  // with the zero at its end
    const ssize_t n = ::write(to_, text.c_str() + sent, text.size() + 1 - sent);
    if (n <= 0) throw std::runtime_error("the browser does not listen");
    sent += static_cast<std::size_t>(n);
  }
  for (;;) {
    const json message = receive();
    if (message.value("id", 0) != id) continue;  // an event
    if (message.contains("error")) throw std::runtime_error(method + ": " + message["error"].dump());
    return message["result"];
  }
}

void Browser::open(const fs::path& page, const std::string& hash) {
  call("Page.navigate", {{"url", "about:blank"}});  // another hash alone would not load the page again
  call("Page.navigate", {{"url", "file://" + page.string() + (hash.empty() ? "" : "#" + hash)}});
}

std::string Browser::wait_for_state(std::chrono::seconds limit) {
  const auto until = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < until) {
    const json state = call("Runtime.evaluate", {{"expression", "document.body?.dataset.state ?? ''"}})["result"];
    if (const std::string s = state.value("value", ""); !s.empty()) return s;
    std::this_thread::sleep_for(20ms);
  }
  throw std::runtime_error("the page was not done in time");
}

json Browser::evaluate(const std::string& expression) {
  const json r =
      call("Runtime.evaluate", {{"expression", expression}, {"awaitPromise", true}, {"returnByValue", true}});
  if (r.contains("exceptionDetails")) throw std::runtime_error(r["exceptionDetails"].dump());
  return r["result"].value("value", json());
}

}  // namespace mfl::test
