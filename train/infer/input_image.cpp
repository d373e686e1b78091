#include "train/infer/input_image.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/photo/photo.h"
#include "data/preprocess/mask.h"
#include "runtime/error.h"
#include "runtime/log.h"

namespace mfl::infer {
namespace {

using data::Image;
using Json = nlohmann::ordered_json;
namespace photo = data::photo;

bool opaque(const Image& rgba) {
  for (std::size_t i = 3; i < rgba.pixels.size(); i += 4)
    if (rgba.pixels[i] != 255) return false;
  return true;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& p : parts) out += (out.empty() ? "" : "; ") + p;
  return out;
}

// Luma, ITU-R 601; an alpha that is not opaque everywhere is the mask itself.
Image mask_values(const Image& im) {
  Image grey(im.width, im.height, 1);
  const bool alpha = im.channels == 4 && !opaque(im);
  const std::size_t n = grey.pixels.size(), c = static_cast<std::size_t>(im.channels);
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint8_t* p = im.pixels.data() + i * c;
    grey.pixels[i] = alpha ? p[3] : c == 1 ? p[0] : static_cast<std::uint8_t>((299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000);
  }
  return grey;
}

// The animal that a mask shows: luma above the middle, largest component, as preprocess takes masks.
Image masked(const Image& rgb, const Image& values, const std::string& where, const std::string& mask_name, Json& outline) {
  if (values.width != rgb.width || values.height != rgb.height)
    throw_error<DataError>(mask_name, " is ", values.width, " x ", values.height, ", but ", where, " is ", rgb.width, " x ", rgb.height,
                                 ". A mask has a pixel for every pixel of the (upright) photo");
  data::preprocess::Mask mask;
  data::preprocess::find_mask(values, mask);
  if (mask.area == 0)
    throw_error<DataError>(mask_name, " shows no animal: nothing in it is brighter than 127. Masks are white where the animal is");
  if (mask.dropped * 20 > mask.area)
    log_warning(mask_name, " shows several parts; the largest is taken, and ", 100 * mask.dropped / (mask.area + mask.dropped), " % of the mask left out.");
  outline["dropped_pixels"] = mask.dropped;
  Image out = data::with_channels(rgb, 4);
  for (std::size_t i = 0; i < mask.image.pixels.size(); ++i) out.pixels[4 * i + 3] = mask.image.pixels[i];
  return out;
}

Image segmented(const Image& rgb, const std::string& where, const InputOptions& o, const photo::BackgroundModel* model, double& confidence, Json& outline) {
  photo::Segmentation s = model ? model->segment(rgb) : photo::segment_animal(rgb);
  confidence = s.confidence;
  outline["confidence"] = s.confidence, outline["reasons"] = s.reasons;
  const std::string why = joined(s.reasons);
  if (s.mask.area == 0)
    throw_error<DataError>(where, ": no animal was found (", why, "). Give its outline with --mask FILE, or as the picture's alpha");
  outline["area_share"] = static_cast<double>(s.mask.area) / (static_cast<double>(rgb.width) * rgb.height);
  const int percent = static_cast<int>(100 * s.confidence + 0.5);
  if (s.confidence < kFloor && !o.accept_segmentation)
    throw_error<DataError>(where, ": the animal's outline is too unsure (", percent, " %: ", why,
                                 "). Give it with --mask FILE or as the picture's alpha, or take what was found with --accept-segmentation");
  if (s.confidence < kSure)
    log_warning(where, ": the animal's outline is unsure (", percent, " %: ", why, "). Look at the picture in the output, or give --mask FILE.");
  Image out = data::with_channels(rgb, 4);
  for (std::size_t i = 0; i < s.mask.image.pixels.size(); ++i) out.pixels[4 * i + 3] = s.mask.image.pixels[i];
  return out;
}

}  // namespace

InputImage read_input_image(const std::filesystem::path& path, const InputOptions& o) {
  photo::Photo p = photo::read_photo(path.string());
  InputImage out = prepare_input_image(std::move(p.image), path.string(), o);
  out.sha256 = p.sha256;
  Json decisions = Json::parse(out.decisions);
  decisions["file"] = {{"sha256", p.sha256}, {"channels", p.channels}, {"bits", p.bits}, {"orientation_tag_followed", p.turned}};
  out.decisions = decisions.dump();
  return out;
}

InputImage prepare_input_image(Image im, const std::string& where, const InputOptions& o, const Image* mask, const photo::BackgroundModel* model) {
  InputImage out;
  Json decisions = {{"width", im.width}, {"height", im.height}}, outline;
  const Image rgb = data::with_channels(im, 3);
  out.had_alpha = im.channels == 4 && !opaque(im);
  photo::FramingOptions framing = o.framing;
  Image cut;
  if (mask || !o.mask.empty()) {
    outline["from"] = "mask";
    if (!o.mask.empty()) outline["file"] = o.mask;
    cut = mask ? masked(rgb, mask_values(*mask), where, where + ": its mask", outline)
               : masked(rgb, mask_values(photo::read_photo(o.mask).image), where, o.mask, outline);
  } else if (out.had_alpha) {
    outline["from"] = "alpha";
    if (data::foreground_share(im) == 0)
      throw_error<DataError>(where, " is transparent everywhere: its alpha is 0. Give an image whose alpha shows the animal, or --mask FILE");
    cut = std::move(im);
  } else if (o.keep_background) {
    outline["from"] = "none, the background stays";
    framing.enabled = false;
    cut = data::with_channels(rgb, 4);
  } else {
    outline["from"] = model ? "segmentation against the video's background" : "segmentation";
    cut = segmented(rgb, where, o, model, out.confidence, outline);
  }
  const photo::Framed framed = photo::frame_animal(cut, framing, static_cast<int>(o.side), where);
  if (framed.enlargement > 1.5)
    log_warning(where, ": the animal is small, its picture is enlarged ", framed.enlargement, " times; detail that is not there cannot be reconstructed.");
  if (framed.shrunk)
    log_warning(where, ": at the share of the picture that was asked for (", 100 * framing.share, " %) the animal would not fit; it covers ", 100 * framed.share, " %.");
  std::uint8_t colour[3];
  for (std::size_t c = 0; c < 3; ++c) colour[c] = static_cast<std::uint8_t>(o.background[c] * 255);
  Image result = framed.image;
  data::composite_over(result, colour);
  result = data::with_channels(result, 3);
  out.pixels = Tensor::on_heap({o.side, o.side, 3}, DType::u8);
  std::copy(result.pixels.begin(), result.pixels.end(), out.pixels.data<std::uint8_t>());

  const data::Mat3& w = framed.warp;
  decisions["outline"] = outline;
  Json f = {{"kind", framed.kind}, {"pixels", "photo to input, (0, 0) is the corner of the first pixel"}};
  if (std::string(framed.kind) == "similarity") f["matrix"] = {{w[0], w[1], w[2]}, {w[3], w[4], w[5]}};
  else f["matrix"] = {{w[0], w[1], w[2]}, {w[3], w[4], w[5]}, {w[6], w[7], w[8]}};
  f["share_asked_for"] = framing.share, f["share"] = framed.share, f["enlargement"] = framed.enlargement;
  if (framed.focal > 0) f["focal_length"] = framed.focal;
  if (framing.enabled && framing.lens) f["K"] = framing.lens->camera.K, f["distortion"] = framing.lens->distortion;
  decisions["framing"] = f;
  out.decisions = decisions.dump();
  return out;
}

}  // namespace mfl::infer
