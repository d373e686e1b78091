// SHA-256 of checkpoints while the models load and run: gigabytes, and nobody waits but the first provenance.
#pragma once

#include <filesystem>
#include <future>
#include <map>
#include <string>

namespace mfl::infer {

class FileHashes {
 public:
  void start(const std::filesystem::path&);         // on a thread of its own; once a file
  std::string get(const std::filesystem::path&);    // waits. Throws DataError: cannot be read

 private:
  std::map<std::filesystem::path, std::shared_future<std::string>> files_;
};

}  // namespace mfl::infer
