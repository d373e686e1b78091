#include "runtime/io/safetensors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>

#include "runtime/io/atomic_file.h"
#include "tests/support/temp_folder.h"
#include "tests/support/throws.h"

namespace mfl::io {
namespace {

using test::TempFolder;

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
std::vector<std::byte> bytes_of(std::string_view text) {
  const auto b = std::as_bytes(std::span(text));
  return {b.begin(), b.end()};
}
// A file with this header and that many bytes of data.
SafetensorsFile parse(const std::string& header, std::size_t data_bytes) {
  const std::uint64_t length = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &length, 8);
  return SafetensorsFile(memory_source(bytes_of(file + header + std::string(data_bytes, '\1')), "test"));
}
template <class T>
Tensor tensor(Shape shape, DType dtype, std::initializer_list<T> values) {
  Tensor t = Tensor::on_heap(shape, dtype);
  std::copy(values.begin(), values.end(), t.data<T>());
  return t;
}

TEST(Safetensors, WriteReadWriteGivesTheSameBytes) {
  const TempFolder folder;
  const std::vector<NamedTensor> all = {{"flag", tensor<std::uint8_t>({3}, DType::u8, {1, 0, 7})},
                                        {"w", tensor<float>({2, 2}, DType::f32, {1, -2, 3.5f, 1e-30f})},
                                        {"step", tensor<std::int64_t>({}, DType::i64, {1234567890123})},
                                        {"none", Tensor::on_heap({0, 4}, DType::f32)}};
  write_safetensors(folder / "a", all, {{"format", "pt"}});
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.metadata().at("format"), "pt");
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.tensors()[0].name, "step");  // widest first
  EXPECT_EQ(*file.load("step").data<std::int64_t>(), 1234567890123);
  const Tensor w = file.load("w", DType::f64);
  EXPECT_EQ(w.shape(), Shape({2, 2}));
  EXPECT_EQ(w.data<double>()[2], 3.5);
  write_safetensors(folder / "b", file.tensors(), file.metadata());
  EXPECT_EQ(contents(folder / "a"), contents(folder / "b"));
}

TEST(Safetensors, ConvertsElementTypes) {
  const TempFolder folder;
  std::vector<std::byte> half(12);
  const std::uint16_t halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x7e00, 0x3555};
  std::memcpy(half.data(), halves, 12);
  std::vector<std::byte> small = bytes_of("\x7f\x80");
  write_safetensors(folder / "a", std::vector<NamedStored>{{"h", stored(half, StoredType::f16, {6})},
                                                           {"i", stored(small, StoredType::i8, {2})}});
  const SafetensorsFile file(folder / "a");
  const Tensor h = file.load("h", DType::f32);
  const float* v = h.data<float>();
  EXPECT_EQ(v[0], 1.0f);
  EXPECT_EQ(v[1], -2.0f);
  EXPECT_EQ(v[2], std::ldexp(1.0f, -24));
  EXPECT_TRUE(std::isinf(v[3]));
  EXPECT_TRUE(std::isnan(v[4]));
  EXPECT_FLOAT_EQ(v[5], 0.33325195f);
  EXPECT_EQ(file.load("h", DType::bf16).data<bf16>()[1].bits, bf16(-2.0f).bits);
  EXPECT_EQ(file.load("i").data<std::int32_t>()[1], -128);
  MFL_EXPECT_THROW_WITH(file.load("i", DType::u8), DataError, "does not fit");
  MFL_EXPECT_THROW_WITH(file.load("h", DType::i64), DataError, "cannot be read as i64");
  MFL_EXPECT_THROW_WITH(file.load("hh"), DataError, "nearest name is \"h\"");
}

TEST(Safetensors, RefusesWhatItsBytesDoNotExplain) {
  const std::string f32 = R"("dtype":"F32","shape":[2],)";
  EXPECT_NO_THROW(parse(R"({"a":{)" + f32 + R"("data_offsets":[0,8]}})", 8));
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{)" + f32 + R"("data_offsets":[0,8]}})", 7), DataError, "lie outside");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{)" + f32 + R"("data_offsets":[0,8]}})", 9), DataError, "explains 8 bytes");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{)" + f32 + R"("data_offsets":[8,0]}})", 8), DataError, "lie outside");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{)" + f32 + R"("data_offsets":[0,4]}})", 4), DataError, "needs 8 bytes");
  MFL_EXPECT_THROW_WITH(
      parse(R"({"a":{)" + f32 + R"("data_offsets":[0,8]},"b":{)" + f32 + R"("data_offsets":[4,12]}})", 12), DataError,
      "the one before it reaches to 8");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{"dtype":"F32","shape":[9223372036854775807,2],"data_offsets":[0,8]}})", 8),
                        DataError, "does not fit");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,8]}})", 8), DataError,
                        "not a count");
  MFL_EXPECT_THROW_WITH(parse(R"({"a":{"dtype":"F8_E4M3","shape":[8],"data_offsets":[0,8]}})", 8), DataError,
                        "not supported");
  MFL_EXPECT_THROW_WITH(parse("{", 0), DataError, "not a JSON object");
  MFL_EXPECT_THROW_WITH(SafetensorsFile(memory_source(bytes_of("\xff\xff\xff\xff\xff\xff\xff\x7f{}"), "test")),
                        DataError, "header would be");
  MFL_EXPECT_THROW_WITH(SafetensorsFile(memory_source({}, "test")), DataError, "0 bytes");
  MFL_EXPECT_THROW_WITH(SafetensorsFile("/nowhere/at.all"), DataError, "No such file");
}

TEST(StoredTensor, HonoursStridesAndOffset) {
  std::vector<std::byte> bytes(10 * 4);
  for (int i = 0; i < 10; ++i) std::memcpy(&bytes[i * 4], &i, 4);
  StoredTensor t = stored(bytes, StoredType::i32, {10});
  t.offset = 1, t.shape = {2, 3}, t.stride = {1, 3};  // Fortran order
  const Tensor x = load(t, DType::f64, "t");
  const double expected[] = {1, 4, 7, 2, 5, 8};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(x.data<double>()[i], expected[i]);
  t.offset = 3;
  MFL_EXPECT_THROW_WITH(load(t, "t"), DataError, "beyond its storage");
  t.offset = 0, t.stride = {0, 0}, t.shape = {100, 100};
  MFL_EXPECT_THROW_WITH(load(t, "t"), DataError, "expanded");
  t.stride = {INT64_MAX, 3};
  MFL_EXPECT_THROW_WITH(load(t, "t"), DataError, "beyond its storage");
  t.stride = {-1, 1};
  MFL_EXPECT_THROW_WITH(load(t, "t"), DataError, "negative");
}

TEST(AtomicFile, OldFileStaysUntilCommit) {
  const TempFolder folder;
  write_text_file(folder / "deep/er/file", "old");
  {
    AtomicFile file(folder / "deep/er/file");
    file.write("new and never finished");
    file.flush();
  }
  EXPECT_EQ(contents(folder / "deep/er/file"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder / "deep/er"), {}), 1);
  AtomicFile file(folder / "deep/er/file");
  file.write("nXw");
  file.patch(1, bytes_of("e"));
  file.commit();
  EXPECT_EQ(contents(folder / "deep/er/file"), "new");
}
TEST(AtomicFile, FullDiskIsASentenceWithTheReason) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  const TempFolder folder;
  // The temporary name is a link to a device that is always full.
  const auto partial = folder / (".x." + std::to_string(::getpid()) + ".partial");
  write_text_file(folder / "x", "old");
  std::filesystem::create_symlink("/dev/full", partial);
  MFL_EXPECT_THROW_WITH(write_text_file(folder / "x", "new"), DataError, "No space left");
  EXPECT_EQ(contents(folder / "x"), "old");
}
TEST(AtomicFile, NamesTheFolderItCannotMake) {
  const TempFolder folder;
  write_text_file(folder / "file", "");
  MFL_EXPECT_THROW_WITH(write_text_file(folder / "file/x", "new"), DataError, "cannot be made");
}

}  // namespace
}  // namespace mfl::io
