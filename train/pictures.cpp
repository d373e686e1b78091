#include "train/pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "runtime/io/atomic_file.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;

struct Labelled {
  std::string sample, title;
  std::vector<std::string> labels;   // of its views
};

std::vector<Labelled> labels_of(const data::Batch& batch, std::int64_t samples, std::int64_t views, std::int64_t pass) {
  std::vector<Labelled> out;
  for (std::int64_t b = 0; b < samples; ++b) {
    const std::string& name = batch.names[std::size_t(b)];
    Labelled l{name, fmt::format("training pass {}  {}", pass, name), {}};
    for (std::int64_t v = 0; v < views; ++v)
      l.labels.push_back(fmt::format("view {} ({})", batch.index.data<std::int64_t>()[2 * (b * views + v)],
                                     v < batch.supervised_inputs() ? "input" : "target"));
    out.push_back(std::move(l));
  }
  return out;
}

}  // namespace

TrainingPictures::TrainingPictures(fs::path folder, Device device, std::int64_t batch, std::int64_t views, std::int64_t side,
                                   std::int64_t channels)
    : folder_(std::move(folder)),
      render_(Tensor::pinned({std::min(batch, kSamples), views, side, side, 3}, DType::f32, {"pictures"})),
      target_(Tensor::pinned({std::min(batch, kSamples), views, side, side, channels}, DType::f32, {"pictures"})),
      copied_(device) {}

TrainingPictures::~TrainingPictures() {
  if (drawing_.valid()) drawing_.wait();   // the thread reads the staging
}

void TrainingPictures::request(const Stream& stream, const Tensor& render, const Tensor& target, const data::Batch& batch,
                               std::int64_t pass) {
  collect();
  const Shape shape = render_.shape();
  const std::int64_t samples = std::min(batch.size(), shape[0]), rows = samples * shape[1];
  for (const auto& [from, to] : {std::pair{&render, &render_}, {&target, &target_}})
    copy(stream, from->rows(0, rows), to->rows(0, samples).reshape(from->rows(0, rows).shape()));
  stream.record(copied_);
  // Views, not tensors: handles belong to this thread.
  drawing_ = std::async(std::launch::async, [this, pass, labelled = labels_of(batch, samples, shape[1], pass),
                                             render = View(render_), target = View(target_)] {
    copied_.synchronize();
    Drawn drawn;
    drawn.pass = pass;
    const fs::path folder = folder_ / fmt::format("iter_{:08d}", pass);
    try {
      for (std::size_t b = 0; b < labelled.size(); ++b) {
        const auto of_sample = [&](View all) {
          const Shape s = all.shape;
          return reshape(slice(all, 0, static_cast<std::int64_t>(b), 1), {s[1], s[2], s[3], s[4]});
        };
        const data::Image image = draw_panel(
            {.title = labelled[b].title, .labels = labelled[b].labels, .target = of_sample(target), .render = of_sample(render)});
        Picture picture{text("supervision_", b), image.width, image.height, panel_png(image)};
        io::AtomicFile file(folder / ("supervision_" + labelled[b].sample + ".png"));
        file.write(picture.png);
        file.commit();
        drawn.pictures.push_back(std::move(picture));
      }
    } catch (const std::exception& e) {
      drawn.error = e.what();
    }
    return drawn;
  });
}

void TrainingPictures::collect() {
  if (drawing_.valid()) drawn_.push_back(drawing_.get());
}

std::vector<TrainingPictures::Drawn> TrainingPictures::take(bool wait) {
  if (wait || (drawing_.valid() && drawing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)) collect();
  return std::exchange(drawn_, {});
}

}  // namespace mfl
