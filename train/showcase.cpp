#include "train/showcase.h"

#include <fmt/format.h>
#include <omp.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>

#include "models/gslrm/filters.h"
#include "models/gslrm/ply.h"
#include "models/gslrm/spec.h"
#include "models/gslrm/viewer/viewer.h"
#include "runtime/log.h"
#include "train/memory_plan.h"
#include "train/panels.h"

namespace mfl {
namespace {

namespace fs = std::filesystem;
using gslrm::Cameras;
using gslrm::Gaussians;

// One view needs few intersections at a time; training's chunk would take memory that it does not have to spare.
constexpr std::int64_t kViewChunk = std::int64_t{4} << 20;

Tensor on_device(const Stream& s, Arena& a, const Tensor& host) {
  Tensor d = a.empty(host.shape(), host.dtype(), {"turntable"});
  copy(s, host, d);
  return d;
}

}  // namespace

Showcase::Showcase(const GslrmConfig& config, Device device, std::size_t memory_bytes)
    : config_(config),
      stream_(Stream::create(device, "showcase")),
      memory_(device, memory_bytes, "showcase"),
      splats_(device, memory_bytes, "showcase rasterizer"),
      renderer_{.scaling_modifier =
                    gslrm::ModelSpec::from(config.model, config.training.dataset.num_input_views).scaling_modifier,
                .chunk = kViewChunk} {}

Showcase::~Showcase() {
  if (showing_.valid()) showing_.wait();
}

void Showcase::show(ShowcaseScene scene) {
  collect();
  showing_ = std::async(std::launch::async, [this, scene = std::move(scene)] {
    // Training comes first: one core, and that only where it is free.
    omp_set_num_threads(1);
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), 5);  // of this thread alone
    const auto begin = std::chrono::steady_clock::now();
    Shown s = make(scene);
    s.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return s;
  });
}

void Showcase::collect() {
  if (showing_.valid()) shown_.push_back(showing_.get());
}

std::vector<Showcase::Shown> Showcase::take(bool wait) {
  if (wait || (showing_.valid() && showing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready)) collect();
  return std::exchange(shown_, {});
}

Turntable Showcase::strip_table() const {
  const auto& r = config_.mfl.render;
  return {.views = r.turntable_views, .size = r.turntable_size, .hfov = r.hfov, .elevation = r.elevation};
}
Turntable Showcase::video_table() const {
  const auto& r = config_.mfl.render;
  return {.views = r.video_views,
          .size = r.video_size > 0 ? r.video_size : config_.model.image_tokenizer.image_size,
          .hfov = r.hfov,
          .elevation = r.elevation};
}

Tensor Showcase::render(const Gaussians& g, const Cameras& camera) {
  Ctx cx{.stream = stream_, .arena = memory_, .precision = Precision::of(DType::f32), .saving = false};
  gslrm::Renderer::Saved none;
  return renderer_.forward(cx, splats_, g,
                           {on_device(stream_, memory_, camera.c2w), on_device(stream_, memory_, camera.fxfycxcy),
                            camera.height, camera.width},
                           none);
}

// One view at a time: memory does not grow with their number.
void Showcase::turn(const Gaussians& g, const Turntable& t, const std::function<void(int, ConstView)>& each) {
  const Cameras cameras = turntable_cameras(t);
  const Shape side{t.size, t.size, 3};
  const Tensor view = Tensor::on_heap(side, DType::f32);
  for (int i = 0; i < t.views; ++i) {
    if (g.xyz.shape()[0] == 0) {
      std::fill_n(view.data<float>(), view.numel(), 1.0f);  // nothing is left: white
    } else {
      copy(stream_, render(g, {cameras.c2w.rows(i, 1), cameras.fxfycxcy.rows(i, 1), t.size, t.size}).reshape(side),
           view);
      stream_.synchronize();
    }
    each(i, view);
  }
}

std::size_t Showcase::device_bytes(const GslrmConfig& config, std::int64_t n) {
  Showcase dry(config, kMeta, std::size_t{1} << 50);
  const std::int64_t degree = config.model.gaussians.sh_degree, K = (degree + 1) * (degree + 1);
  const Gaussians g{
      dry.memory_.empty({n, 3}, DType::f32, {"turntable"}), dry.memory_.empty({n, K, 3}, DType::f32, {"turntable"}),
      dry.memory_.empty({n, 3}, DType::f32, {"turntable"}), dry.memory_.empty({n, 4}, DType::f32, {"turntable"}),
      dry.memory_.empty({n, 1}, DType::f32, {"turntable"})};
  for (Turntable t : {dry.strip_table(), dry.video_table()}) {
    t.views = 1;
    if (t.size == dry.video_table().size && !config.mfl.render.video) continue;
    dry.render(g, turntable_cameras(t));
  }
  return committed_bytes(dry.memory_.peak_bytes()) + committed_bytes(dry.splats_.peak_bytes());
}

Showcase::Shown Showcase::make(const ShowcaseScene& scene) {
  Shown shown;
  shown.pass = scene.pass;
  // What cannot be written does not keep the rest from being written.
  auto attempt = [&](const std::function<void()>& f) {
    try {
      f();
    } catch (const std::exception& e) {
      if (shown.error.empty()) shown.error = e.what();
    }
  };
  const fs::path folder =
      fs::path(config_.validation.output_dir) / fmt::format("iter_{:08d}", scene.pass) / scene.sample;
  auto picture = [&](const char* name, const data::Image& image) {
    shown.images.emplace_back(name, ValidationResult::Png{image.width, image.height, panel_png(image)});
  };
  const std::string title = fmt::format("pass {}  {}", scene.pass, scene.sample);
  attempt([&] {
    const data::Image panel =
        draw_panel({.title = title, .labels = scene.labels, .target = scene.target, .render = scene.render});
    picture("gt_vs_pred", panel);
    write_panel(folder / "gt_vs_pred.png", panel);
  });
  attempt([&] { write_panel(folder / "input.png", draw_strip(scene.inputs)); });

  Gaussians kept;
  attempt([&] {
    kept = gslrm::filtered(scene.gaussians, gslrm::Filters::evaluation(config_.model));
    const fs::path file = folder / "gaussians.ply";
    gslrm::write_ply(file, kept, {.scaling_modifier = renderer_.scaling_modifier});
    shown.files.emplace_back("ply", file.string());
  });
  if (!kept.opacity) return shown;
  const auto& render = config_.mfl.render;
  if (render.viewer)
    attempt([&] {
      const fs::path file = folder / "viewer.html";
      gslrm::write_viewer(file, kept, scene.cameras,
                          {.title = title,
                           .camera_names = scene.labels,
                           .background = scene.background,
                           .scaling_modifier = renderer_.scaling_modifier});
      shown.files.emplace_back("viewer", file.string());
    });
  attempt([&] {
    stream_.synchronize();  // this thread's first word to the device
    const Gaussians g{on_device(stream_, memory_, kept.xyz), on_device(stream_, memory_, kept.features),
                      on_device(stream_, memory_, kept.scaling), on_device(stream_, memory_, kept.rotation),
                      on_device(stream_, memory_, kept.opacity)};
    attempt([&] {
      const Turntable t = strip_table();
      const Tensor views = Tensor::on_heap({t.views, t.size, t.size, 3}, DType::f32);
      turn(g, t, [&](int i, ConstView frame) {
        std::copy_n(frame.as<float>(), frame.numel(), views.data<float>() + i * frame.numel());
      });
      const data::Image strip = turntable_strip(views);
      const fs::path file = folder / "turntable.png";
      picture("turntable", strip);
      write_panel(file, strip);
      shown.files.emplace_back("turntable", file.string());
    });
    if (render.video)
      attempt([&] {
        std::vector<data::Image> frames;
        turn(g, video_table(), [&](int, ConstView frame) { frames.push_back(to_image(frame)); });
        std::string note;
        shown.files.emplace_back("video", write_video(folder / "turntable", frames, render.video_fps, &note).string());
        if (!note.empty()) log_debug(note);
      });
  });
  return shown;
}

}  // namespace mfl
