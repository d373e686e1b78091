#include "runtime/io/mat_file.h"

#include <matio.h>

#include <cstring>
#include <memory>

namespace mfl::io {
namespace {

using File = std::unique_ptr<mat_t, decltype(&Mat_Close)>;
using Variable = std::shared_ptr<matvar_t>;

StoredType element_type(const matvar_t& v, const std::string& what) {
  if (v.isComplex) throw_error<DataError>(what, " is complex; real numbers are expected.");
  if (v.class_type == MAT_C_SINGLE) return StoredType::f32;
  if (v.class_type == MAT_C_DOUBLE) return StoredType::f64;
  throw_error<DataError>(what, " is neither single nor double (MATLAB class ", int{v.class_type}, ").");
}

// The numbers of one array; the variable that owns them stays alive.
class MatStorage final : public Storage {
 public:
  MatStorage(Variable owner, const matvar_t& array, StoredType type)
      : Storage(type, static_cast<std::int64_t>(array.nbytes / size_of(type))),
        owner_(std::move(owner)),
        data_(array.data) {}
  void read(std::uint64_t first, std::span<std::byte> into) const override {
    std::memcpy(into.data(), static_cast<const std::byte*>(data_) + first, into.size());
  }

 private:
  Variable owner_;
  const void* data_;
};

std::vector<std::int64_t> axes_of(const matvar_t& v) {
  std::vector<std::int64_t> axes;
  for (int i = 0; i < v.rank; ++i) axes.push_back(static_cast<std::int64_t>(v.dims[i]));
  return axes;
}

StoredTensor array(const Variable& owner, const matvar_t& v, const std::string& what) {
  const StoredType type = element_type(v, what);
  StoredTensor t{std::make_shared<MatStorage>(owner, v, type), 0, checked_shape(axes_of(v), what), {}};
  t.stride = t.shape;
  std::int64_t step = 1;
  for (int i = 0; i < t.shape.rank(); ++i) t.stride[i] = step, step *= t.shape[i];
  if (!v.data && t.numel() > 0) throw_error<DataError>(what, " has no data in the file.");
  check_inside(t, what);
  return t;
}

// [h, w, in, out] to [out, in, h, w]. MATLAB drops trailing axes of one element.
StoredTensor kernel(const StoredTensor& t, const std::string& what) {
  if (t.shape.rank() > 4) throw_error<DataError>(what, " is ", t.shape, "; a kernel has the four axes h, w, in, out.");
  auto axis = [&](int i) { return i < t.shape.rank() ? t.shape[i] : 1; };
  auto step = [&](int i) { return i < t.shape.rank() ? t.stride[i] : t.numel(); };
  return {t.storage, 0, {axis(3), axis(2), axis(0), axis(1)}, {step(3), step(2), step(0), step(1)}};
}
StoredTensor bias(const StoredTensor& t) { return {t.storage, 0, {t.numel()}, {1}}; }

}  // namespace

bool is_mat_file(std::span<const std::byte> head) {
  constexpr std::string_view kText = "MATLAB 5.0 MAT-file";
  return head.size() >= kText.size() && std::memcmp(head.data(), kText.data(), kText.size()) == 0;
}

std::vector<NamedStored> read_matconvnet(const std::filesystem::path& path) {
  const std::string file = path.string();
  const File mat(Mat_Open(file.c_str(), MAT_ACC_RDONLY), Mat_Close);
  if (!mat)
    throw_error<DataError>(file, " cannot be read as a MATLAB file: it is missing, cut short or of another format.");
  const Variable layers(Mat_VarRead(mat.get(), "layers"), Mat_VarFree);
  if (!layers || layers->class_type != MAT_C_CELL || !layers->data)
    throw_error<DataError>(file, " holds no cell array `layers`: it is no MatConvNet network, or is damaged.");

  std::vector<NamedStored> all;
  const auto count = layers->nbytes / sizeof(matvar_t*);
  for (std::size_t i = 0; i < count; ++i) {
    matvar_t* layer = Mat_VarGetCell(layers.get(), static_cast<int>(i));
    if (!layer || layer->class_type != MAT_C_STRUCT) continue;
    auto field = [&](const char* name) { return Mat_VarGetStructFieldByName(layer, name, 0); };
    const matvar_t *w = field("filters"), *b = field("biases");
    if (matvar_t* both = field("weights");
        both && both->class_type == MAT_C_CELL && both->nbytes >= 2 * sizeof(matvar_t*)) {
      w = Mat_VarGetCell(both, 0);
      b = Mat_VarGetCell(both, 1);
    }
    if (!w || !b) continue;  // ReLU and pooling have none
    const std::string name = text("layers.", i);
    all.push_back({name + ".weight", kernel(array(layers, *w, file + ": " + name + ".weight"), file + ": " + name)});
    all.push_back({name + ".bias", bias(array(layers, *b, file + ": " + name + ".bias"))});
  }
  if (all.empty()) throw_error<DataError>(file, ": none of its ", count, " layers has weights.");
  return all;
}

}  // namespace mfl::io
