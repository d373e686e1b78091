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
