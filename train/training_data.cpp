#include "train/training_data.h"

#include <fmt/format.h>

#include <chrono>

#include "data/doctor/examine.h"
#include "data/pack.h"
#include "runtime/log.h"

namespace mfl {
namespace {

void check(const TrainingData& d, const data::ViewReader& reader) {
  const auto start = std::chrono::steady_clock::now();
  data::doctor::RigExpectations expected;
  expected.normalised_later = d.normalised_later;
  const data::doctor::Findings found = data::doctor::quick_check(reader, expected);
  const bool sound = data::doctor::sound(found);
  std::string reasons;
  for (const auto& f : found) {
    if (f.severity == data::doctor::Severity::error) reasons += "\n  " + one_line(f);
    if (f.severity == data::doctor::Severity::warning) log_warning(reader.path(), ": ", one_line(f));
  }
  if (!sound && !d.allow_unsound)
    throw_error<DataError>(reader.path(), ": the data contradicts itself, so training on it would be in vain:", reasons, "\n`mfl_data doctor ",
                           reader.path(), "` shows it in pictures; mfl.allow_unsound_data: true trains all the same");
  if (!sound) log_warning(reader.path(), ": unsound, but mfl.allow_unsound_data is set:", reasons);
  log_info(reader.path(), ": data check: ", data::doctor::verdict(found),
           fmt::format(" ({:.1f} s)", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count()));
}

}  // namespace

data::DatasetOptions dataset_options(const GslrmConfig& c, bool training) {
  const TrainingConfig::Dataset& d = c.training.dataset;
  data::DatasetOptions o;
  o.image_size = c.model.image_tokenizer.image_size;
  o.num_views = d.num_views;
  o.num_input_views = d.num_input_views;
  o.remove_alpha = d.remove_alpha;
  o.background = data::parse_background(d.background_color);
  o.seed = c.mfl.seed;
  o.limit = c.mfl.overfit;
  if (const auto crop = c.training.crop_size; training && crop && *crop < o.image_size) o.crop_size = *crop;
  if (c.mouse.use_mouse_dataset) {
    o.rule = data::ViewRule::fixed;
    o.fewer_views = true;
    if (c.mouse.normalize_cameras || c.mouse.target_camera_distance > 0) o.normalise = data::CameraNormalisation{};
    if (o.normalise) {
      o.normalise->rotate = c.mouse.normalize_cameras;
      o.normalise->z_up = c.mouse.normalize_to_z_up;
      o.normalise->target_distance = c.mouse.target_camera_distance;
    }
    o.auto_mask = c.mouse.auto_generate_mask;
    o.mask_threshold = c.mouse.mask_threshold;
    const auto& a = c.mouse.augmentation;
    if (training && a.enabled && c.mfl.overfit == 0) {
      data::Augmentation aug;
      aug.horizontal_flip = a.horizontal_flip;
      aug.rotation_range = a.rotation_range;
      for (int i = 0; i < 2; ++i) aug.brightness[i] = a.brightness_range[std::size_t(i)], aug.contrast[i] = a.contrast_range[std::size_t(i)];
      o.augmentation = aug;
    }
  } else {
    o.rule = d.maximize_view_overlap ? data::ViewRule::overlap : data::ViewRule::random;
  }
  return o;
}

std::shared_ptr<const data::ViewReader> open_training_data(const TrainingData& d, Communicator& comm, const data::ViewReader* checked) {
  std::string path = d.packed;
  if (comm.rank() == 0) {
    const std::string& source = d.own.empty() ? d.list : d.own;
    if (std::filesystem::exists(path.substr(0, path.find('#'))))
      data::check_packed_from(path, source);
    else
      path = data::ensure_packed(source, d.cache.string(), d.image_size);
  }
  path = comm.broadcast_text(path, 0);
  auto reader = std::make_shared<data::ViewReader>(path);
  if (comm.rank() == 0 && !(checked && checked->path() == path)) check(d, *reader);
  return reader;
}

}  // namespace mfl
