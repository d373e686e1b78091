// A component's JSON file (config.json, scheduler_config.json, model_index.json), read by key with errors that name the file.
// Unknown keys are ignored: the libraries that write these files add keys with every version.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mfl::mvdiffusion {

class JsonConfig {
 public:
  // Throws DataError: missing file, not JSON, not an object.
  static JsonConfig read(const std::filesystem::path&);
  static JsonConfig parse(std::string_view text, std::string name);

  const std::string& name() const;               // the path, for messages
  std::vector<std::string> keys() const;
  bool has(std::string_view key) const;          // present and not null

  // Throw DataError for a missing or null key and for a value of another kind. With a fallback, missing and null give it.
  std::int64_t integer(std::string_view key) const;
  double number(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string string(std::string_view key) const;
  std::vector<std::int64_t> integers(std::string_view key) const;   // a single integer is a list of one
  std::vector<std::string> strings(std::string_view key) const;     // a single string alike
  std::int64_t integer(std::string_view key, std::int64_t fallback) const { return has(key) ? integer(key) : fallback; }
  double number(std::string_view key, double fallback) const { return has(key) ? number(key) : fallback; }
  bool boolean(std::string_view key, bool fallback) const { return has(key) ? boolean(key) : fallback; }
  std::string string(std::string_view key, std::string fallback) const { return has(key) ? string(key) : fallback; }

  // Throws DataError unless the value (or the fallback) is one that is implemented: "vae/config.json: act_fn is "gelu",
  // expected "silu"."
  void require(std::string_view key, std::string_view fallback, std::string_view expected) const;
  void require_flag(std::string_view key, bool fallback, bool expected) const;
  // Throws DataError unless `integer` lies in [low, high].
  std::int64_t integer_in(std::string_view key, std::int64_t low, std::int64_t high) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mfl::mvdiffusion
