#include <cmath>
#include <filesystem>
#include <map>

#include "data/doctor/pinhole.h"
#include "data/hdf5_file.h"
#include "data/image_file.h"
#include "data/info/describe.h"
#include "data/number_text.h"
#include "data/recipe.h"
#include "data/recording.h"
#include "data/sample_folder.h"
#include "data/video_reader.h"
#include "runtime/error.h"

namespace mfl::data::info {
namespace {

namespace fs = std::filesystem;

std::string megabytes(const std::string& path) {
  std::error_code error;
  const auto bytes = fs::file_size(path, error);
  return error ? "?" : format("%.1f MB", static_cast<double>(bytes) / 1e6);
}

constexpr const char* kRigHead =
    "  view               distance  azimuth  elevation      fx      fy    skew      cx      cy   det R\n";
std::string rig_line(const std::string& name, const doctor::Pinhole& c) {
  if (!c.finite()) return format("  %-16.16s  values that are not finite, or no focal length\n", name.c_str());
  const doctor::Bearing b = doctor::bearing(c.centre(), {});
  return format("  %-16.16s  %9.3f  %7.2f  %9.2f  %6.1f  %6.1f  %6.2f  %6.1f  %6.1f  %+.3f\n", name.c_str(), b.distance,
                b.azimuth, b.elevation, c.fx, c.fy, c.skew, c.cx, c.cy, c.determinant());
}
std::string rig_lines(const std::vector<RawCamera>& cameras) {
  std::string out = kRigHead;
  for (std::size_t i = 0; i < cameras.size(); ++i) {
    const RawCamera& c = cameras[i];
    const Mat3 k = corner_intrinsics(c);
    doctor::Pinhole p;
    p.width = c.width, p.height = c.height, p.fx = k[0], p.skew = k[1], p.cx = k[2], p.fy = k[4], p.cy = k[5];
    for (int r = 0; r < 3; ++r) {
      for (int j = 0; j < 3; ++j) p.w2c[static_cast<std::size_t>(4 * r + j)] = c.R[static_cast<std::size_t>(3 * r + j)];
      p.w2c[static_cast<std::size_t>(4 * r + 3)] = c.T[static_cast<std::size_t>(r)];
    }
    out += rig_line(text("camera ", i), p);
  }
  return out + "  principal points from the image's corner; distances and angles from the rig's origin\n";
}

}  // namespace

std::string describe_packed(const std::string& path, bool all_cameras) {
  const ViewReader r(path);
  std::map<int, int> views;
  std::map<Split, int> splits;
  std::map<Role, std::int64_t> roles;
  double foreground = 0, least = 1, most = 0, worst_iou = 2;
  std::int64_t total = 0, sixteen = 0, alpha = 0, measured = 0, clipped = 0;
  for (std::int64_t s = 0; s < r.size(); ++s) {
    ++views[r.views(s)], ++splits[r.split(s)], alpha += r.has_alpha(s);
    for (int v = 0; v < r.views(s); ++v) {
      const double f = r.foreground(s, v);
      foreground += f, least = std::min(least, f), most = std::max(most, f), ++total;
      sixteen += r.bits(s, v) == 16, ++roles[r.role(s, v)];
      const ViewStats stats = r.stats(s, v);
      clipped += stats.clipped > 0;
      if (!std::isnan(stats.hull_iou)) worst_iou = std::min(worst_iou, static_cast<double>(stats.hull_iou)), ++measured;
    }
  }
  std::string out =
      text(path, ": packed data set, format version ", r.file(0).version,
           r.files() > 1 ? text(" (", r.files(), " files)") : "", "\n  samples      ", r.size(), "\n  views        ");
  for (const auto& [count, samples] : views) out += text(count, " (", samples, " samples) ");
  if (roles.size() > 1 || !roles.count(Role::both))
    for (const auto& [role, count] : roles) out += text("; ", count, " as ", name_of(role));
  out += text("\n  image        ", r.width(0), " x ", r.height(0), " RGBA; ", alpha, " samples came with alpha, ",
              sixteen, " views with 16 bits\n");
  out +=
      format("  foreground   mean %.2f %%, from %.2f %% to %.2f %% of a view; the border cuts %lld views\n",
             100 * foreground / static_cast<double>(total), 100 * least, 100 * most, static_cast<long long>(clipped));
  if (measured)
    out += format("  visual hull  IoU from %.3f (%lld views measured)\n", worst_iou, static_cast<long long>(measured));
  out += "  split        ";
  for (const auto& [split, samples] : splits) out += text(name_of(split), ' ', samples, "  ");
  std::uintmax_t bytes = 0;
  for (int f = 0; f < r.files(); ++f) bytes += fs::file_size(r.file(f).path);
  out += format("\n  files        %.1f MB, %.1f %% of the raw pixels\n", static_cast<double>(bytes) / 1e6,
                100.0 * static_cast<double>(bytes) / (4.0 * r.width(0) * r.height(0) * static_cast<double>(total)));
  out += text("  content      sha256 ", r.content_hash(), '\n');
  if (const std::string tool = tool_of(r.recipe()); !tool.empty()) out += text("  made by      ", tool, '\n');
  if (!all_cameras) return out + "  --cameras prints the rig of the first sample; `mfl_data doctor` examines it\n";
  out += text("  sample ", r.sample_name(0), ":\n", kRigHead);
  for (int v = 0; v < r.views(0); ++v) out += rig_line(r.view_name(0, v), doctor::pinhole(r.camera(0, v)));
  return out;
}

std::string describe_recording(const std::string& folder) {
  const Recording r = open_recording(folder);
  return text(folder, ": raw recording, ", r.cameras.size(), " cameras, ", r.frames, " frames of ", r.cameras[0].width,
              " x ", r.cameras[0].height, " at ", r.frames_per_second, " a second (",
              format("%.1f", r.frames_per_second > 0 ? static_cast<double>(r.frames) / r.frames_per_second : 0),
              " s)\n", rig_lines(r.cameras),
              "  `mfl_data doctor` examines it, `mfl_data preprocess` makes samples of it\n");
}

std::string describe_samples(const std::string& list_or_folder) {
  const std::vector<SampleFolder> samples = find_samples(list_or_folder);
  std::int64_t missing = 0;
  std::string first_missing;
  std::error_code error;
  for (const SampleFolder& s : samples)
    if (!fs::exists(fs::path(s.path) / kCameraFile, error) && missing++ == 0) first_missing = s.path;
  std::string out = text(list_or_folder, fs::is_directory(list_or_folder, error) ? ": folder of " : ": list of ",
                         samples.size(), " samples\n");
  if (missing) out += text("  ", missing, " of them lack ", kCameraFile, ", the first: ", first_missing, '\n');
  for (const SampleFolder& s : samples) {
    const fs::path file = fs::path(s.path) / kCameraFile;
    if (fs::exists(file, error)) return out + "  the first: " + describe_cameras(file.string());
  }
  return out;
}

std::string describe_cameras(const std::string& path) {
  const SampleFile file = read_sample_file(path, Check::form);
  const Sample& sample = file.sample;
  std::string out = text(path, ": ", sample.views.size(), " cameras", sample.name.empty() ? "" : " of " + sample.name,
                         file.images[0].empty() ? ", without images" : "", '\n', kRigHead);
  for (std::size_t i = 0; i < sample.views.size(); ++i) {
    const View& v = sample.views[i];
    out += rig_line(v.name.empty() ? text("frame ", i) : v.name, doctor::pinhole(v.camera));
  }
  return out;
}

std::string describe_calibration(const std::string& path) {
  const std::vector<RawCamera> cameras = read_new_cam(path);
  return text(path, ": calibration of ", cameras.size(), " cameras, ", megabytes(path), "\n", rig_lines(cameras));
}

std::string describe_image(const std::string& path) {
  const Image im = read_image(path);
  return text(path, ": image, ", im.width, " x ", im.height, ", ",
              im.channels == 1   ? "grey"
              : im.channels == 3 ? "RGB"
                                 : "RGBA",
              ", ", megabytes(path),
              im.channels == 4 ? format("; alpha covers %.2f %%", 100 * foreground_share(im)) : "", '\n');
}

std::string describe_video(const std::string& path) {
  const VideoReader v(path);
  return text(path, ": video, ", v.width(), " x ", v.height(), ", ", v.frames(), " frames at ", v.frames_per_second(),
              " a second, ", megabytes(path), '\n');
}

}  // namespace mfl::data::info
