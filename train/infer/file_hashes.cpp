#include "train/infer/file_hashes.h"

#include <fstream>
#include <vector>

#include "data/sha256.h"
#include "runtime/error.h"

namespace mfl::infer {

void FileHashes::start(const std::filesystem::path& path) {
  if (files_.contains(path)) return;
  files_[path] = std::async(std::launch::async, [path] {
                   std::ifstream in(path, std::ios::binary);
                   data::Sha256 all;
                   std::vector<char> part(std::size_t{1} << 20);
                   while (in) {
                     in.read(part.data(), static_cast<std::streamsize>(part.size()));
                     all.add(part.data(), static_cast<std::size_t>(in.gcount()));
                   }
                   if (!in.eof()) throw_error<DataError>(path.string(), " cannot be read.");
                   return data::hex(all.finish());
                 }).share();
}

std::string FileHashes::get(const std::filesystem::path& path) {
  start(path);
  return files_.at(path).get();
}

}  // namespace mfl::infer
