#include "data/info/describe.h"

#include <filesystem>

#include "data/list_file.h"
#include "data/recording.h"
#include "data/sample_folder.h"
#include "runtime/error.h"
#include "runtime/io/byte_source.h"

namespace mfl::data::info {
namespace {

namespace fs = std::filesystem;

std::string first_bytes(const std::string& path, std::size_t count) {
  const auto bytes = io::head(*io::open_file(path), count);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string describe_folder(const std::string& path, const std::string&) {
  if (fs::exists(fs::path(path) / kCalibrationFile)) return describe_recording(path);
  return describe_samples(path);
}

}  // namespace

std::string describe(const std::string& given, bool all_cameras) {
  const std::string path = given.substr(0, given.find('#'));
  std::error_code error;
  if (!fs::exists(path, error)) throw_error<DataError>(path, ": does not exist");
  if (fs::is_directory(path, error)) return describe_folder(path, given);
  const std::string head = first_bytes(path, 64), name = fs::path(path).filename().string();
  const auto begins = [&](std::string_view magic) { return head.compare(0, magic.size(), magic) == 0; };
  if (begins("\x89HDF\r\n\x1a\n")) return describe_packed(given, all_cameras);
  if (begins("ply\n") || begins("ply\r")) return describe_gaussians(path);
  if (begins("\x89PNG") || begins("\xff\xd8\xff")) return describe_image(path);
  if (head.size() > 12 && head.compare(4, 4, "ftyp") == 0) return describe_video(path);
  if (name.find("tfevents") != std::string::npos) return describe_events(path);
  const std::string end = fs::path(path).extension().string();
  if (end == ".pkl") return describe_calibration(path);
  if (end == ".json") return describe_cameras(path);
  if (is_list_file(path)) {
    const std::string entry = read_list_file(path)[0].entry;
    const std::string kind = fs::path(entry.substr(0, entry.find('#'))).extension().string();
    return kind == ".h5" || kind == ".hdf5" ? describe_packed(given, all_cameras) : describe_samples(path);
  }
  if (end == ".yaml" || end == ".yml")
    return text(path, ": a configuration. `mfl_train ", path,
                " --plan` says what it trains, how large it is and whether it fits\n");
  // PK: a zip, as torch.save writes it; 0x80: a pickle, as it did before; a small number and {: safetensors.
  const bool safetensors = head.size() > 8 && head[8] == '{';
  if (begins("PK") || begins("\x80\x02") || safetensors || begins("MATLAB")) return describe_weights(path);
  throw_error<DataError>(path,
                         ": is none of the files that are known here: packed data sets (.h5), recordings and sample "
                         "folders, list files (.txt), camera files "
                         "(opencv_cameras.json, new_cam.pkl), checkpoints (.pt, .safetensors, .mat), Gaussians (.ply), "
                         "event files, PNG, JPEG and MP4");
}

}  // namespace mfl::data::info
