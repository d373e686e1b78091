#include "train/infer/input_options.h"

#include <CLI/CLI.hpp>

#include "runtime/error.h"

namespace mfl::infer {

void add_input_options(CLI::App& app, InputArguments& a) {
  app.add_option("--mask", a.mask, "image of the photo's size, bright where the animal is; default: the photo's alpha, or segmentation");
  app.add_flag("--accept-segmentation", a.accept_segmentation, "take an outline of the animal of which the program is not sure");
  app.add_flag("--keep-background", a.keep_background, "no alpha and no mask: leave the picture as it is, unframed");
  app.add_flag("--no-framing", a.no_framing, "the picture is framed already: square, of the network's size");
  app.add_option("--framing-share", a.share, "of the picture that the animal covers, 0 to 1; default: 0.024, as in the mouse training data")
      ->check(CLI::Range(1e-4, 0.9));
  app.add_option("--framing-from", a.framing_from, "packed file that the models were trained on: the share is its views' mean");
  app.add_option("--intrinsics", a.intrinsics, "of the photo's camera: fx,fy,cx,cy[,k1,k2,p1,p2,k3] in pixels; the camera is then turned towards the animal");
  app.add_option("--calibration", a.calibration, "new_cam.pkl of the rig that took the photo, with --camera");
  app.add_option("--camera", a.camera, "of --calibration, from 0")->check(CLI::Range(0, 1 << 20));
}

bool any(const InputArguments& a) {
  return !a.mask.empty() || !a.intrinsics.empty() || !a.calibration.empty() || !a.framing_from.empty() || a.camera >= 0 || a.share > 0 || a.accept_segmentation || a.keep_background ||
         a.no_framing;
}

void check_input_arguments(const InputArguments& a) {
  if (!a.intrinsics.empty() && !a.calibration.empty()) throw_error<ConfigError>("Give either --intrinsics or --calibration: both say what the camera is.");
  if (a.calibration.empty() != (a.camera < 0)) throw_error<ConfigError>("--calibration FILE and --camera N belong together; one of them is missing.");
  if (a.share > 0 && !a.framing_from.empty()) throw_error<ConfigError>("Give either --framing-share or --framing-from: both say how large the animal is.");
  if (a.no_framing && (a.share > 0 || !a.framing_from.empty() || !a.intrinsics.empty() || !a.calibration.empty()))
    throw_error<ConfigError>("--no-framing leaves the picture as it is; --framing-share, --framing-from, --intrinsics and --calibration say how to frame it.");
  if (a.keep_background && !a.mask.empty()) throw_error<ConfigError>("--keep-background leaves the picture as it is; --mask says what of it stays.");
}

InputOptions input_options(const InputArguments& a, std::int64_t side, const std::array<double, 3>& background) {
  check_input_arguments(a);
  InputOptions o;
  o.side = side, o.background = background;
  o.mask = a.mask, o.accept_segmentation = a.accept_segmentation, o.keep_background = a.keep_background;
  o.framing.enabled = !a.no_framing;
  if (a.share > 0) o.framing.share = a.share;
  if (!a.framing_from.empty()) o.framing.share = data::photo::trained_share(a.framing_from);
  if (!a.intrinsics.empty()) o.framing.lens = data::photo::parse_intrinsics(a.intrinsics);
  if (!a.calibration.empty()) o.framing.lens = data::photo::rig_lens(a.calibration, a.camera);
  return o;
}

}  // namespace mfl::infer
