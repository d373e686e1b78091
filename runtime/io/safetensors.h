// The safetensors format: 8 bytes header length (little-endian), a JSON header, then raw row-major tensor bytes.
// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, "__metadata__": {"key": "text"}}
//
// Every size, offset and overlap is checked against the file before anything is allocated. Errors are DataErrors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "runtime/io/byte_source.h"
#include "runtime/io/stored_tensor.h"

namespace mfl::io {

class SafetensorsFile {
 public:
  explicit SafetensorsFile(Source);
  explicit SafetensorsFile(const std::filesystem::path& path) : SafetensorsFile(open_file(path)) {}

  const std::string& name() const { return source_->name(); }
  const std::vector<NamedStored>& tensors() const { return tensors_; }  // in the order of their bytes
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const StoredTensor* find(std::string_view name) const;  // null: not in the file
  const StoredTensor& at(std::string_view name) const;    // DataError: names the nearest

  // In memory, as the file's type (see loaded_type) or converted.
  Tensor load(std::string_view name) const;
  Tensor load(std::string_view name, DType) const;

 private:
  Source source_;
  std::vector<NamedStored> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Every tensor of the file, in memory.
std::vector<NamedTensor> read_safetensors(const std::filesystem::path&);

// Atomic. Wider element types come first, so that every tensor lies aligned; otherwise the given order stays. Strided
// tensors become row-major. The same input gives the same bytes.
void write_safetensors(const std::filesystem::path&, const std::vector<NamedStored>&,
                       const std::map<std::string, std::string>& metadata = {});
void write_safetensors(const std::filesystem::path&, const std::vector<NamedTensor>&,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace mfl::io
