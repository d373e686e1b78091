// What a test reads of a run's log.
#pragma once

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mfl::test {

// The lines of a log.jsonl with this event.
inline std::vector<nlohmann::json> log_lines(const std::filesystem::path& log, const std::string& event) {
  std::vector<nlohmann::json> out;
  std::ifstream in(log);
  for (std::string line; std::getline(in, line);)
    if (auto j = nlohmann::json::parse(line); j["event"] == event) out.push_back(std::move(j));
  return out;
}

}  // namespace mfl::test
