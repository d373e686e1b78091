// A headless Chromium that a test opens pages in and asks questions of, over the DevTools protocol on a pair of pipes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mfl::test {

class Browser {
 public:
  // The program: $MFL_CHROMIUM, or Chromium or Chrome of the distribution; empty where there is none (Ubuntu's package
  // is a snap, which cannot read a test's folder).
  static std::filesystem::path program();

  // Software rendering (SwiftShader), so that every machine draws the same. Throws std::runtime_error.
  explicit Browser(const std::filesystem::path& program, const std::vector<std::string>& more_flags = {});
  ~Browser();
  Browser(const Browser&) = delete;
  Browser& operator=(const Browser&) = delete;

  void open(const std::filesystem::path& page, const std::string& hash = "");
  // Waits for document.body.dataset.state to be set and returns it. Throws std::runtime_error after `limit`.
  std::string wait_for_state(std::chrono::seconds limit);
  // The value of a JavaScript expression; a promise is waited for. Throws what the page threw.
  nlohmann::json evaluate(const std::string& expression);
  nlohmann::json call(const std::string& method, nlohmann::json parameters = nlohmann::json::object());

 private:
  nlohmann::json receive();
  std::filesystem::path profile_;
  pid_t process_ = 0;
  int to_ = -1, from_ = -1;  // ends of the pipes
  std::string unread_, session_;
  int calls_ = 0;
};

}  // namespace mfl::test
