#include "runtime/io/torch_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "runtime/io/pickle.h"
#include "runtime/io/zip.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::io {
namespace {

using test::TempFolder;
const std::filesystem::path kFiles = std::filesystem::path(MFL_SOURCE_DIR) / "tests/golden/torch";

std::filesystem::path shared(const char* variable, const char* leaf) {
  const char* given = std::getenv(variable);
  return given ? std::filesystem::path(given) : std::filesystem::path(MFL_SOURCE_DIR) / "../shared" / leaf;
}
std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
std::vector<double> values(const Value& v) {
  const Tensor t = load(v.tensor(), DType::f64, "test");
  return {t.data<double>(), t.data<double>() + t.numel()};
}
std::vector<double> count(double from, int n, double step = 1) {
  std::vector<double> v;
  for (int i = 0; i < n; ++i) v.push_back(from + i * step);
  return v;
}

// What make_torch_files.py put into each form of the file.
void expect_everything(const Value& root) {
  const auto& s = root.at("shared").items();
  EXPECT_EQ(values(s[0]), count(0, 24));
  EXPECT_EQ(values(s[1]), count(6, 6));
  EXPECT_EQ(s[0].tensor().storage, s[1].tensor().storage);
  EXPECT_EQ(s[2].tensor().shape, Shape({6, 4}));
  EXPECT_FALSE(s[2].tensor().contiguous());
  const std::vector<double> transposed = values(s[2]);
  for (int i = 0; i < 6; ++i)
    for (int j = 0; j < 4; ++j) EXPECT_EQ(transposed[static_cast<std::size_t>(i * 4 + j)], j * 6 + i);
  const Value& fortran = root.at("fortran");  // [o][i][h][w] = value of [h][w][i][o]
  EXPECT_EQ(fortran.tensor().shape, Shape({2, 2, 3, 3}));
  const std::vector<double> kernel = values(fortran);
  for (int o = 0, k = 0; o < 2; ++o)
    for (int i = 0; i < 2; ++i)
      for (int h = 0; h < 3; ++h)
        for (int w = 0; w < 3; ++w) EXPECT_EQ(kernel[static_cast<std::size_t>(k++)], ((h * 3 + w) * 2 + i) * 2 + o);
  const Value& types = root.at("types");
  using V = std::vector<double>;
  for (const char* name : {"f64", "f16", "bf16"}) EXPECT_EQ(values(types.at(name)), (V{1.5, -2.25})) << name;
  EXPECT_EQ(values(types.at("i64")), (V{-std::ldexp(1, 40), 3}));
  for (const char* name : {"i32", "i16", "i8"}) EXPECT_EQ(values(types.at(name)), (V{-7, 3})) << name;
  EXPECT_EQ(values(types.at("u8")), (V{255, 3}));
  EXPECT_EQ(values(types.at("bool")), (V{1, 0}));
  EXPECT_EQ(types.at("bool").tensor().type(), StoredType::boolean);
  EXPECT_EQ(root.at("scalar").number(), 2.5);
  EXPECT_EQ(root.at("scalar").tensor().shape.rank(), 0);
  EXPECT_EQ(root.at("empty").tensor().shape, Shape({0, 3}));
  EXPECT_TRUE(root.at("state_dict").is_ordered_dict());
  EXPECT_EQ(values(root.at("state_dict").at("weight")), count(0, 6));
  EXPECT_EQ(values(root.at("parameter")), count(7, 3));
  const auto& p = root.at("plain").items();
  EXPECT_TRUE(p[0].is_none());
  EXPECT_TRUE(p[1].boolean());
  const std::int64_t integers[] = {0, 255, 256, 65536, -1, std::int64_t{1} << 40, -(std::int64_t{1} << 40)};
  for (std::size_t i = 0; i < 7; ++i) EXPECT_EQ(p[3 + i].integer(), integers[i]);
  EXPECT_EQ(p[10].number(), 0.1);
  EXPECT_EQ(p[11].string(), "text \xc3\xa9");
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(p[12 + i].items().size(), i);
  EXPECT_TRUE(root.at(3).is_ordered_dict());
  EXPECT_EQ(root.at(3).entries()[0].first.string(), "z");
  EXPECT_EQ(root.at("numpy").number(), 0.125);
}

TEST(TorchFile, ReadsEveryFormOfTheSameTree) {
  for (const char* name : {"everything.pt", "everything_legacy.pt", "everything_protocol4.pt", "deflated.pt"}) {
    SCOPED_TRACE(name);
    expect_everything(read_torch_file(kFiles / name));
  }
}

TEST(TorchFile, WriteReadWriteGivesTheSameBytes) {
  const TempFolder folder;
  write_torch_file(folder / "a.pt", read_torch_file(kFiles / "everything.pt"));
  expect_everything(read_torch_file(folder / "a.pt"));
  write_torch_file(folder / "b.pt", read_torch_file(folder / "a.pt"));
  EXPECT_EQ(contents(folder / "a.pt"), contents(folder / "b.pt"));
  const ZipReader zip(open_file(folder / "a.pt"));
  for (const ZipEntry& e : zip.entries()) EXPECT_EQ(e.first % 64, 0u) << e.name;
}

TEST(TorchFile, WritesTreesMadeHere) {
  const TempFolder folder;
  std::vector<float> weights = {1, 2, 3, 4, 5, 6};
  Value state = Value::dict();
  state.set(0, Value::dict());
  state.at(0).set("step", stored_scalar(4));
  state.at(0).set("exp_avg", stored(make_view(weights.data(), {2, 3}, DType::f32)));
  Value root = Value::dict();
  root.set("model", Value::ordered_dict());
  StoredTensor produced = stored(StoredType::f32, Shape{2}, [](std::uint64_t first, std::span<std::byte> into) {
    EXPECT_EQ(first, 0u);
    std::fill(into.begin(), into.end(), std::byte{0});
  });
  root.at("model").set("weight", produced);
  root.at("model").set("alias", produced);
  root.set("optimizer", Value::dict());
  root.at("optimizer").set("state", state);
  root.at("optimizer").set("param_groups", Value::list({Value::dict()}));
  root.set("fwdbwd_pass_step", 70000);
  write_torch_file(folder / "a.pt", root);
  const Value back = read_torch_file(folder / "a.pt");
  EXPECT_EQ(back.at("fwdbwd_pass_step").integer(), 70000);
  EXPECT_EQ(values(back.at("optimizer").at("state").at(0).at("exp_avg")), count(1, 6));
  EXPECT_EQ(back.at("optimizer").at("state").at(0).at("step").number(), 4);
  EXPECT_EQ(back.at("model").at("weight").tensor().storage, back.at("model").at("alias").tensor().storage);
  EXPECT_EQ(tensors_of(back).size(), 4u);
  EXPECT_EQ(tensors_of(back)[0].name, "model.weight");
  MFL_EXPECT_THROW_WITH(back.at("modle"), DataError, "nearest is \"model\"");
  MFL_EXPECT_THROW_WITH(back.at("model").at("weight").integer(), DataError, "expected an integer, found a tensor");
}

TEST(TorchFile, NoticesDamage) {
  const TempFolder folder;
  const std::string good = contents(kFiles / "everything.pt");
  const ZipReader zip(open_file(kFiles / "everything.pt"));
  auto damaged = [&](std::string bytes) {
    const auto b = std::as_bytes(std::span(bytes));
    return memory_source({b.begin(), b.end()}, "damaged.pt");
  };
  std::string flipped = good;
  flipped[zip.find("everything/data/0")->first + 5] ^= 1;
  const Value v = read_torch_file(damaged(flipped));
  MFL_EXPECT_THROW_WITH(values(v.at("shared").items()[0]), DataError, "CRC-32");
  MFL_EXPECT_THROW_WITH(values(v.at("shared").items()[1]), DataError, "CRC-32");  // a part of the same storage
  for (std::size_t n = 0; n < good.size(); n += 97)
    EXPECT_THROW(read_torch_file(damaged(good.substr(0, n))), DataError) << n;
  const std::string old = contents(kFiles / "everything_legacy.pt");
  for (std::size_t n = 0; n < old.size(); n += 13)
    EXPECT_THROW(read_torch_file(damaged(old.substr(0, n))), DataError) << n;
  MFL_EXPECT_THROW_WITH(read_torch_file(damaged("<html>404</html>")), DataError, "error page");
}

TEST(Zip, ReadsItsOwnZip64Records) {
  const TempFolder folder;
  const std::string text(1000, 'x');
  {
    AtomicFile file(folder / "a.zip");
    ZipWriter zip(file, /*zip64_from=*/500);
    for (const char* name : {"small", "big"})
      zip.add(name, std::as_bytes(std::span(text).first(name[0] == 's' ? 10 : 1000)));
    zip.add("behind", std::as_bytes(std::span(text).first(3)));
    zip.finish();
    file.commit();
  }
  const ZipReader zip(open_file(folder / "a.zip"));
  zip.verify();
  ASSERT_EQ(zip.entries().size(), 3u);
  EXPECT_EQ(zip.read(*zip.find("big")).size(), 1000u);
  EXPECT_EQ(zip.read(*zip.find("behind")).size(), 3u);
}

TEST(Pickle, ReadsNumpyArraysOfEveryProtocol) {
  for (int protocol : {2, 3, 4, 5}) {
    SCOPED_TRACE(protocol);
    const Value camera = read_pickle_file(kFiles / text("numpy_", protocol, ".pkl")).items()[0];
    EXPECT_EQ(values(camera.at("K")), count(0, 9));
    EXPECT_EQ(values(camera.at("R")), (std::vector<double>{0, 3, 6, 1, 4, 7, 2, 5, 8}));  // Fortran order
    EXPECT_EQ(camera.at("T").tensor().shape, Shape({3, 1}));
    EXPECT_EQ(values(camera.at("T")), count(1, 3));
    EXPECT_EQ(camera.at("K32").tensor().type(), StoredType::f32);
    EXPECT_EQ(values(camera.at("K32")), count(0, 9));
    EXPECT_EQ(values(camera.at("big")), count(0, 9));  // big-endian
    EXPECT_EQ(values(camera.at("ints")), (std::vector<double>{1, -2}));
    EXPECT_EQ(camera.at("n").integer(), 7);
    EXPECT_EQ(values(camera.at("map")).size(), 6u);
  }
}
TEST(Pickle, RefusesByName) {
  MFL_EXPECT_THROW_WITH(read_pickle_file(kFiles / "malicious.pkl"), DataError, "\"builtins print\"");
  auto read = [](std::string_view bytes) { return unpickle(std::as_bytes(std::span(bytes)), "test").value; };
  using namespace std::string_view_literals;
  MFL_EXPECT_THROW_WITH(read("\x80\2(i__main__\nX\n."sv), DataError, "opcode INST");
  MFL_EXPECT_THROW_WITH(read("\x80\2\x97."sv), DataError, "opcode NEXT_BUFFER");
  MFL_EXPECT_THROW_WITH(read("\x80\2h\5."sv), DataError, "memo entry 5");
  MFL_EXPECT_THROW_WITH(read("\x80\2]q\0h\0a."sv), DataError, "contains itself");
  MFL_EXPECT_THROW_WITH(read("\x80\2X\xff\xff\xff\xffhello."sv), DataError, "6 are left");
  MFL_EXPECT_THROW_WITH(read("\x80\2ctorch\nFloatStorage\n."sv), DataError, "torch tensors");
  MFL_EXPECT_THROW_WITH(read("\x80\x06N."sv), DataError, "protocol 6");
  MFL_EXPECT_THROW_WITH(read("\x80\2K\1K\2."sv), DataError, "other values");
  // A million nested lists must be refused without recursion, finished or not.
  std::string deep = "\x80\2" + std::string(1000000, ']');
  EXPECT_THROW(read(deep), DataError);
  MFL_EXPECT_THROW_WITH(read(deep + std::string(999999, 'a') + "."), DataError, "nested deeper");
}

TEST(GoldenCheckpoints, MatchTheListingMadeByPython) {
  const auto golden = shared("MFL_GOLDEN", "golden");
  if (!std::filesystem::exists(golden)) GTEST_SKIP() << "no golden cases at " << golden;
  std::ifstream in(kFiles / "golden_checkpoints.json");
  const auto listing = nlohmann::json::parse(in);
  for (const auto& [name, expected] : listing.items()) {
    SCOPED_TRACE(name);
    const Value root = read_torch_file(golden / name);
    EXPECT_EQ(root.at("fwdbwd_pass_step").integer(), expected["step"].get<std::int64_t>());
    const std::vector<NamedStored> tensors = tensors_of(root);
    EXPECT_EQ(tensors.size(), expected["tensors"].size());
    for (const NamedStored& t : tensors) {
      const auto& e = expected["tensors"].at(t.name);
      EXPECT_EQ(std::vector<std::int64_t>(t.tensor.shape.begin(), t.tensor.shape.end()),
                e["shape"].get<std::vector<std::int64_t>>());
      const std::vector<double> v = values(t.tensor);
      double sum = 0;
      for (double x : v) sum += x;
      EXPECT_EQ(v.front(), e["first"].get<double>()) << t.name;
      EXPECT_EQ(v.back(), e["last"].get<double>()) << t.name;
      EXPECT_NEAR(sum, e["sum"].get<double>(), 1e-9 * static_cast<double>(v.size())) << t.name;
    }
  }
}

TEST(SharedData, LpipsHeadsPromptEmbeddingsAndCamerasAreRead) {
  const auto data = shared("MFL_SHARED_DATA", "data");
  if (!std::filesystem::exists(data)) GTEST_SKIP() << "no shared data at " << data;
  const Value heads = read_torch_file(data / "facelift_sample/lpips_v0.1/vgg.pth");
  EXPECT_EQ(heads.at("lin4.model.1.weight").tensor().shape, Shape({1, 512, 1, 1}));
  for (double w : values(heads.at("lin0.model.1.weight"))) EXPECT_TRUE(w >= 0 && w < 10);
  const Value prompts = read_torch_file(data / "facelift_sample/prompt_embeds/clr_embeds.pt");
  EXPECT_EQ(prompts.tensor().shape, Shape({6, 77, 1024}));
  EXPECT_EQ(prompts.tensor().type(), StoredType::f16);
  for (double x : values(prompts)) ASSERT_TRUE(std::isfinite(x));
  const Value cameras = read_pickle_file(data / "markerless_mouse_demo/new_cam.pkl");
  ASSERT_EQ(cameras.items().size(), 6u);
  for (const Value& c : cameras.items()) {
    EXPECT_EQ(c.at("K").tensor().shape, Shape({3, 3}));
    EXPECT_EQ(c.at("R").tensor().shape, Shape({3, 3}));
    EXPECT_EQ(c.at("T").tensor().numel(), 3);
  }
}

}  // namespace
}  // namespace mfl::io
