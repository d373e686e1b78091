#include "models/mvdiffusion/folder_info.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "models/mvdiffusion/pipeline_files.h"
#include "runtime/error.h"
#include "runtime/io/atomic_folder.h"
#include "runtime/io/byte_source.h"
#include "runtime/io/safetensors.h"
#include "runtime/io/torch_file.h"
#include "runtime/io/zip.h"

namespace mfl::mvdiffusion {
namespace {

namespace fs = std::filesystem;
using io::Value;
using nlohmann::json;

enum class Kind { checkpoint, pipeline, component };

bool is_file(const fs::path& p) {
  std::error_code none;
  return fs::is_regular_file(p, none);
}

Kind kind_of(const fs::path& folder) {
  std::error_code none;
  if (!fs::is_directory(folder, none)) throw_error<DataError>(folder.string(), " is no folder.");
  if (is_file(folder / "optimizer.bin") || is_file(folder / "mfl.json")) return Kind::checkpoint;
  if (is_file(folder / "model_index.json")) return Kind::pipeline;
  if (is_file(folder / "config.json")) return Kind::component;
  throw_error<DataError>(folder.string(), " is neither a checkpoint-N (optimizer.bin), nor a pipeline (model_index.json), nor a "
                         "component of one (config.json).");
}

json read_json(const fs::path& path) {
  const io::Source source = io::open_file(path);
  const std::vector<std::byte> bytes = io::head(*source, std::size_t{16} << 20);
  const char* text = reinterpret_cast<const char*>(bytes.data());
  const json j = json::parse(text, text + bytes.size(), nullptr, false);
  if (!j.is_object()) throw_error<DataError>(path.string(), " holds no JSON object.");
  return j;
}

std::string size_text(std::uint64_t bytes) {
  const double mib = double(bytes) / double(1 << 20);
  char s[32];
  std::snprintf(s, sizeof s, bytes < 10 << 20 ? "%.2f MiB" : "%.0f MiB", mib);
  return s;
}

// "690 tensors, 870184644 values, f32, 3319 MiB" of a component's weights.
std::string weights_line(const fs::path& folder) {
  fs::path path;
  try {
    path = component_weights(folder);
  } catch (const DataError&) {
    return "no weights that are read";   // component_weights says what was looked for; a description goes on
  }
  const io::WeightFile file = io::open_weights(path);
  std::int64_t values = 0;
  std::vector<std::string> types;
  for (const io::NamedStored& t : file.tensors) {
    values += t.tensor.numel();
    if (std::string type = io::name_of(t.tensor.type()); std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
  }
  std::string joined;
  for (const std::string& t : types) joined += (joined.empty() ? "" : " and ") + t;
  return text(file.tensors.size(), " tensors, ", values, " values, ", joined, ", ", size_text(fs::file_size(path)));
}

std::string padded(std::string name) {
  name.resize(std::max<std::size_t>(name.size() + 1, 24), ' ');
  return "\n  " + name;
}

std::string optimizer_line(const fs::path& path) {
  const Value root = io::read_torch_file(path);
  const auto& states = root.at("state").entries();
  std::string sizes, rates;
  for (const Value& g : root.at("param_groups").items()) {
    sizes += (sizes.empty() ? "" : " + ") + std::to_string(g.at("params").items().size());
    rates += (rates.empty() ? "" : ", ") + text(g.at("lr").number());
  }
  if (!states.empty() && states.front().second.find("state1")) return text("8-bit AdamW, groups of ", sizes, " tensors; not resumed");
  return text("AdamW, ", states.empty() ? std::string("no update yet") : text("after ", states.front().second.at("step").number(), " updates"),
              ", groups of ", sizes, " tensors at learning rates ", rates);
}

std::string checkpoint_text(const fs::path& folder) {
  const bool ours = is_file(folder / "mfl.json");
  std::string s = text(folder.string(), ": a training checkpoint written by ", ours ? "this program" : "accelerate", ", ",
                       size_text(io::folder_bytes(folder)));
  for (const char* part : {"unet", "unet_ema"}) {
    s += padded(part);
    if (!is_file(folder / part / "config.json")) {
      s += "missing";
      continue;
    }
    const JsonConfig config = JsonConfig::read(folder / part / "config.json");
    s += weights_line(folder / part);
    if (config.has("optimization_step")) s += text("; the average after ", config.integer("optimization_step"), " updates");
  }
  s += padded("optimizer.bin") + (is_file(folder / "optimizer.bin") ? optimizer_line(folder / "optimizer.bin") : "missing");
  s += padded("scheduler.bin");
  s += is_file(folder / "scheduler.bin") ? text("count ", io::read_torch_file(folder / "scheduler.bin").at("last_epoch").integer()) : "missing";
  if (ours) {
    const JsonConfig c = JsonConfig::read(folder / "mfl.json");
    s += padded("mfl.json") + text("step ", c.integer("step"), ", ", c.integer("updates"), " updates applied",
                                   c.has("data_position") ? text(", the data at sample ", c.integer("data_position")) : std::string(),
                                   c.has("best") ? text(", best ", c.number("best"), " at step ", c.integer("best_step")) : std::string());
  }
  return s;
}

std::string component_text(const fs::path& folder) {
  const JsonConfig config = JsonConfig::read(folder / "config.json");
  return text(config.string("_class_name", "a network"), ", ", weights_line(folder));
}

std::string pipeline_text(const fs::path& folder) {
  const json index = read_json(folder / "model_index.json");
  const json name = index.value("_class_name", json("a pipeline"));
  std::string s = text(folder.string(), ": ", name.is_string() ? name.get<std::string>() : "a pipeline", ", ", size_text(io::folder_bytes(folder)));
  for (const auto& [key, value] : index.items()) {
    if (key.starts_with('_') || !value.is_array()) continue;
    s += padded(key);
    if (value.size() == 2 && value[1].is_string()) s += value[1].get<std::string>();
    const fs::path part = folder / fs::path(key).filename();
    std::error_code none;
    if (!fs::is_directory(part, none)) {
      s += value.size() == 2 && value[1].is_null() ? "none" : ", missing";
    } else if (is_file(part / "config.json")) {
      s += ", " + weights_line(part);
    }
  }
  return s;
}

// A file by its own means: a header that explains every byte, or CRCs.
void check_file(const fs::path& path) {
  const io::Source source = io::open_file(path);
  if (path.extension() == ".safetensors")
    (void)io::SafetensorsFile(source);
  else if (io::is_zip(io::head(*source, 8)))
    io::ZipReader(source).verify();
  else if (path.extension() == ".json")
    (void)read_json(path);
}

}  // namespace

std::string describe_folder(const fs::path& given) {
  const fs::path folder = given.has_filename() ? given : given.parent_path();   // "checkpoint-500/"
  switch (kind_of(folder)) {
    case Kind::checkpoint:
      return checkpoint_text(folder);
    case Kind::pipeline:
      return pipeline_text(folder);
    case Kind::component:
      return text(folder.string(), ": ", component_text(folder));
  }
  return {};
}

std::string verify_folder(const fs::path& folder) {
  kind_of(folder);
  if (!is_file(folder / "mfl.json")) {
    std::size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file()) check_file(entry.path()), ++files;
    return text(files, " files have the structure of their formats; no checksums of the whole were recorded for this folder");
  }
  const fs::path list = folder / "mfl.json";
  const json ours = read_json(list);
  if (!ours.contains("files") || !ours["files"].is_object()) throw_error<DataError>(list.string(), " has no list of files.");
  std::uint64_t bytes = 0;
  for (const auto& [name, entry] : ours["files"].items()) {
    const fs::path relative = name;
    if (relative.is_absolute() || std::find(relative.begin(), relative.end(), "..") != relative.end() || !entry.is_object() ||
        !entry.value("bytes", json()).is_number_unsigned() || !entry.value("crc32", json()).is_number_unsigned())
      throw_error<DataError>(list.string(), ": the entry \"", name, "\" is not a file below the folder with its bytes and crc32.");
    const fs::path path = folder / relative;
    const auto size = entry["bytes"].get<std::uint64_t>(), crc = entry["crc32"].get<std::uint64_t>();
    if (!is_file(path)) throw_error<DataError>(path.string(), " is missing.");
    if (fs::file_size(path) != size) throw_error<DataError>(path.string(), " has ", fs::file_size(path), " bytes, ", size, " were written.");
    if (const std::uint32_t found = io::file_crc32(path); found != crc)
      throw_error<DataError>(path.string(), " is damaged: its CRC-32 is ", found, ", ", crc, " was written. Take an older checkpoint.");
    bytes += size;
  }
  return text(ours["files"].size(), " files, ", size_text(bytes), ", have the sizes and CRCs that were recorded when they were written");
}

}  // namespace mfl::mvdiffusion
