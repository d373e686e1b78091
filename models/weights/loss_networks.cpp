#include "models/weights/loss_networks.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>

#include "kernels/elementwise/cast.h"
#include "models/perceptual/lpips.h"
#include "models/perceptual/perceptual.h"
#include "models/weights/coverage.h"
#include "runtime/io/weight_file.h"
#include "runtime/log.h"

namespace mfl::weights {
namespace {

// Layer numbers of VGG19's convolutions in MatConvNet's file and in torchvision's `features`: the same network, so the
// same.
constexpr std::array<int, 16> kVgg19Layers = {0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34};

const std::string kPerceptual = std::string(perceptual::PerceptualLoss::kScope) + ".";
const std::string kLpips = std::string(perceptual::LpipsLoss::kScope) + ".";

// One of the three sets of weights.
struct Part {
  std::string prefix;  // of its parameters
  const char* key;     // of the configuration
  const char* use;     // what needs it
  const char* what;
  const char* publication;  // file and place
  std::uint32_t seed;       // of "formula"
};
const std::array<Part, 3> kParts = {{
    {kPerceptual + "net.", "mfl.weights.vgg19", "training.losses.perceptual_loss_weight", "VGG19",
     "imagenet-vgg-verydeep-19.mat (548 MB, MD5 106118b7cf60435e6d8e04f6a6dc3657) from "
     "https://www.vlfeat.org/matconvnet/models/imagenet-vgg-verydeep-19.mat; the environment variable "
     "VGG19_WEIGHTS_PATH may "
     "name it too",
     19},
    {kLpips + "net.", "mfl.weights.vgg16", "LPIPS (training.losses.lpips_loss_weight, or validation)", "the VGG16 of LPIPS",
     "vgg16-397923af.pth (528 MB) from https://download.pytorch.org/models/vgg16-397923af.pth", 16},
    {kLpips + "lin", "mfl.weights.lpips", "LPIPS (training.losses.lpips_loss_weight, or validation)", "the linear heads of LPIPS",
     "vgg.pth (7 kB) of lpips v0.1 from "
     "https://github.com/richzhang/PerceptualSimilarity/tree/master/lpips/weights/v0.1",
     0},
}};

// "formula" -> the part's seed; "formula:SEED" -> SEED; a path -> nothing.
std::optional<std::uint32_t> formula_seed(const std::string& source, const Part& part) {
  if (source == "formula") return part.seed;
  if (!source.starts_with("formula:")) return {};
  std::uint32_t seed = 0;
  const char *begin = source.data() + 8, *end = source.data() + source.size();
  const auto [at, error] = std::from_chars(begin, end, seed);
  if (error != std::errc{} || at != end || begin == end)
    throw_error<ConfigError>(part.key, ": \"", source, "\" should be formula or formula:SEED with a whole number.");
  return seed;
}

void fill_formula(const Stream& stream, const std::vector<Param*>& params, const Part& part, std::uint32_t seed) {
  for (std::size_t k = 0; k < params.size(); ++k) {
    const Param& p = *params[k];
    if (part.prefix != kLpips + "lin") {
      perceptual::fill_formula_values(stream, p, static_cast<std::uint32_t>(k), seed);
      continue;
    }
    Tensor mean = Tensor::on_heap(p.shape, DType::f64);
    std::fill_n(mean.data<double>(), mean.numel(), 1.0 / static_cast<double>(p.numel()));
    perceptual::set_values(stream, p, mean);
  }
}

const io::StoredTensor* find_in(const io::WeightFile& file, const std::string& parameter) {
  for (const std::string& name : published_names(parameter))
    if (const io::StoredTensor* t = file.find(name)) return t;
  return nullptr;
}

// Where to look when the key is empty.
std::vector<std::string> usual_places(const Part& part, const LossNetworkSources& sources) {
  std::vector<std::string> places = sources.checkpoints;
  if (part.prefix != kPerceptual + "net.") return places;
  std::vector<std::string> files;
  if (const char* named = std::getenv("VGG19_WEIGHTS_PATH")) files.emplace_back(named);
  if (const char* home = std::getenv("HOME"))
    files.push_back(text(home, "/.cache/openfacelift/imagenet-vgg-verydeep-19.mat"));
  for (const std::string& f : files)
    if (std::filesystem::exists(f)) places.push_back(f);
  return places;
}

// Files that were opened, by path: tensors are read from them lazily.
class Files {
 public:
  const io::WeightFile& open(const std::string& path) {
    const auto found = opened_.find(path);
    return found != opened_.end() ? found->second : opened_.emplace(path, io::open_model_weights(path)).first->second;
  }

 private:
  std::map<std::string, io::WeightFile> opened_;
};

// What `sources` give for a part: a seed, a place with its tensors, or neither and why not.
struct Source {
  std::optional<std::uint32_t> seed = {};
  std::string place = {}, why = {};
  std::vector<const io::StoredTensor*> tensors = {};
  bool found() const { return seed || !place.empty(); }
};

const std::string& given(const LossNetworkSources& s, const Part& part) {
  return part.seed == 19 ? s.vgg19 : part.seed == 16 ? s.vgg16 : s.lpips;
}

Source find_source(const Part& part, const std::vector<Param*>& params, const LossNetworkSources& sources, Files& files) {
  const std::string& key = given(sources, part);
  Source out;
  if ((out.seed = formula_seed(key, part))) return out;
  for (const std::string& place : key.empty() ? usual_places(part, sources) : std::vector<std::string>{key}) {
    if (!std::filesystem::exists(place)) {
      out.why = text(place, " (", part.key, ") does not exist");
      continue;
    }
    const io::WeightFile* file = nullptr;
    try {
      file = &files.open(place);
    } catch (const DataError& e) {
      if (!key.empty()) throw;
      out.why = e.what();
      continue;
    }
    out.tensors.clear();
    for (const Param* p : params)
      if (const io::StoredTensor* t = find_in(*file, p->name))
        out.tensors.push_back(t);
      else
        out.why = text(place, " has no tensor \"", p->name, "\" under any of its published names");
    if (out.tensors.size() == params.size()) {
      out.place = place;
      return out;
    }
    if (!out.tensors.empty())
      out.why = text(place, " holds only ", out.tensors.size(), " of its ", params.size(), " tensors");
  }
  return out;
}

// "VGG19: FILE has no tensor ... Get FILE from PLACE, and name it with KEY (or ...)"
std::string how_to_get(const Part& part, const Source& source) {
  return text(part.what, source.why.empty() ? "" : ": ", source.why, ". Get ", part.publication, ", and name it with ",
              part.key, " (or write \"formula\" there for made-up values");
}

// Parameters of the part, in the store's order; the aliases lins.<k> are written by LpipsLoss::prepare.
std::vector<Param*> params_of(const Part& part, ParamStore& store) {
  std::vector<Param*> params;
  for (Param& p : store.all())
    if (p.name.starts_with(part.prefix) && !p.name.starts_with(kLpips + "lins.")) params.push_back(&p);
  return params;
}

}  // namespace

std::vector<std::string> published_names(std::string_view parameter) {
  std::vector<std::string> names{std::string(parameter)};
  const std::string_view leaf = parameter.substr(parameter.rfind('.') + 1);  // weight or bias
  if (parameter.starts_with(kPerceptual + "net.conv")) {
    const std::string_view local = parameter.substr((kPerceptual + "net.").size());  // conv3.weight
    const int k = std::atoi(std::string(local.substr(4)).c_str());
    if (k < 1 || k > static_cast<int>(kVgg19Layers.size())) return names;
    const int layer = kVgg19Layers[static_cast<std::size_t>(k - 1)];
    names.push_back(text("layers.", layer, ".", leaf));
    names.push_back(text("features.", layer, ".", leaf));
    names.emplace_back(local);
  } else if (parameter.starts_with(kLpips + "net.slice")) {
    const std::string_view local = parameter.substr((kLpips + "net.").size());  // slice2.5.weight: layer 5
    names.push_back(text("features", local.substr(local.find('.'))));
    names.emplace_back(local);
  } else if (parameter.starts_with(kLpips + "lin")) {
    names.emplace_back(parameter.substr(kLpips.size()));  // lin0.model.1.weight
  }
  return names;
}

void load_loss_networks(const Stream& stream, ParamStore& store, const LossNetworkSources& sources) {
  Files files;
  LossNetworkSources left = sources;   // without the checkpoints that turn out damaged
  for (const Part& part : kParts) {
    const std::vector<Param*> params = params_of(part, store);
    for (bool loaded = params.empty(); !loaded;) {
      const Source source = find_source(part, params, left, files);
      if (!source.found())
        throw_error<DataError>(part.use, " needs ", how_to_get(part, source), "; with the loss weight 0 and no key it is left out).");
      if (source.seed) {
        fill_formula(stream, params, part, *source.seed);
        log_warning("Made-up values for ", part.what, " (", part.key, " is ", given(sources, part),
                    "): the loss and metric compare only within this project.");
        break;
      }
      try {
        for (std::size_t k = 0; k < params.size(); ++k)
          load_parameter(stream, *params[k], *source.tensors[k], text(source.place, ": ", params[k]->name));
        loaded = true;
      } catch (const DataError& e) {
        if (std::erase(left.checkpoints, source.place) == 0) throw;
        log_warning("weights of ", part.what, " cannot be read from ", source.place, ": ", e.what(), "\ntrying another source");
        continue;
      }
      log_info("Weights of ", part.what, ": ", params.size(), " tensors from ", source.place);
      if (part.seed == 19 && files.open(source.place).find("features.0.weight"))
        log_warning(source.place,
                    " is torchvision's VGG19, which was trained on other input scaling than MatConvNet's: the perceptual "
                    "loss differs from the published one.");
    }
  }
  refresh_compute(stream, store);
  stream.synchronize();
}

std::string missing_for_lpips(const LossNetworkSources& sources) {
  Arena names(kMeta, std::size_t{1} << 40, "names");
  ParamStore store(names, Precision::of(DType::f32), /*gradients=*/false);
  const perceptual::LpipsLoss network(Scope{store, std::string(perceptual::LpipsLoss::kScope)});
  Files files;
  std::string missing;
  for (const Part& part : kParts) {
    const std::vector<Param*> params = params_of(part, store);
    if (params.empty() || !given(sources, part).empty()) continue;
    if (const Source source = find_source(part, params, sources, files); !source.found())
      missing += text(missing.empty() ? "" : " ", "LPIPS needs ", how_to_get(part, source), ").");
  }
  return missing;
}

}  // namespace mfl::weights
