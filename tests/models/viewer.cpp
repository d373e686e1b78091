// The viewer's page: what it holds; and in headless Chromium, what it shows against our own renderer's image.
#include "models/gslrm/viewer/viewer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "models/gslrm/renderer.h"
#include "models/gslrm/viewer/pack.h"
#include "runtime/rng.h"
#include "tests/support/browser.h"
#include "tests/support/splat_scene.h"

namespace mfl::gslrm {
namespace {

namespace fs = std::filesystem;
using test::SceneKind;

Tensor host(Shape shape, const std::vector<float>& values) {
  Tensor t = Tensor::on_heap(shape, DType::f32);
  std::copy(values.begin(), values.end(), t.data<float>());
  return t;
}
Gaussians gaussians_of(const test::SplatScene& s) {
  const std::int64_t n = s.gaussians;
  return {host({n, 3}, s.xyz), host({n, 1, 3}, s.features), host({n, 3}, s.scaling), host({n, 4}, s.rotation),
          host({n, 1}, s.opacity)};
}
// The scene's cameras with images of `size` pixels.
Cameras cameras_of(const test::SplatScene& s, int size) {
  Cameras k{host({s.views, 4, 4}, s.c2w), host({s.views, 4}, s.fxfycxcy), size, size};
  for (std::int64_t i = 0; i < k.fxfycxcy.numel(); ++i)
    k.fxfycxcy.data<float>()[i] *= static_cast<float>(size) / static_cast<float>(s.size);
  return k;
}
// n large coloured Gaussians of any shape and direction around the origin, with harmonics of a degree.
Gaussians blobs(std::int64_t n, int degree) {
  const std::int64_t K = (degree + 1) * (degree + 1);
  Rng rng(3, Draw::test);
  auto draws = [&](std::int64_t count, double mean, double deviation) {
    std::vector<float> v(static_cast<std::size_t>(count));
    for (float& x : v) x = static_cast<float>(mean + deviation * rng.normal());
    return v;
  };
  return {host({n, 3}, draws(3 * n, 0, 0.3)), host({n, K, 3}, draws(3 * K * n, 0, 0.5)),
          host({n, 3}, draws(3 * n, -3, 0.7)), host({n, 4}, draws(4 * n, 0, 1)), host({n, 1}, draws(n, 0.5, 1.5))};
}

class ViewerPage : public ::testing::Test {
 protected:
  fs::path folder = fs::temp_directory_path() / ("mfl_viewer_" + std::to_string(::getpid()));
  fs::path page = folder / "new folder" / "viewer.html";
  void SetUp() override { fs::create_directories(folder); }
  void TearDown() override { fs::remove_all(folder); }
  static std::string bytes(const fs::path& p) {
    std::ifstream in(p, std::ios::binary);
    std::ostringstream s;
    s << in.rdbuf();
    return s.str();
  }
};

TEST_F(ViewerPage, ComesBackFromItsPackingWithTheStatedErrors) {
  const Gaussians g = blobs(300, 2);
  g.xyz.data<float>()[3 * 7] = std::nanf("");  // left out
  const PackedGaussians p = pack_gaussians(g);
  ASSERT_EQ(p.count, 299);
  ASSERT_EQ(p.rest_stride, 32);
  for (std::int64_t i = 0, from = 0; i < p.count; ++i, ++from) {
    if (from == 7) ++from;
    const std::uint32_t* w = &p.core[std::size_t(4 * i)];
    const std::array<std::uint32_t, 3> q = {w[0] & 0x1fffff, w[0] >> 21 | (w[1] & 1023) << 11, w[1] >> 10};
    float unit[4], length = 0;
    for (int c = 0; c < 4; ++c) length += std::pow(g.rotation.data<float>()[4 * from + c], 2.0f);
    for (int c = 0; c < 4; ++c) unit[c] = g.rotation.data<float>()[4 * from + c] / std::sqrt(length);
    const int largest = int(w[3] >> 30);
    for (int c = 0, place = 0; c < 4; ++c) {
      if (c == largest) continue;
      const float v = (float(w[3] >> (10 * place++) & 1023) - 511) / (511 * std::sqrt(2.0f));
      EXPECT_NEAR(v, unit[largest] < 0 ? -unit[c] : unit[c], 0.0007);
    }
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_NEAR(p.position_low[c] + p.position_step[c] * float(q[c]), g.xyz.data<float>()[3 * from + std::int64_t(c)],
                  2e-6);
      EXPECT_NEAR(p.scale_low + p.scale_step * float(w[2] >> (10 * c) & 1023),
                  g.scaling.data<float>()[3 * from + std::int64_t(c)], p.scale_step * 0.51);
      EXPECT_NEAR(p.colour_low + p.colour_step * float(p.colour[std::size_t(i)] >> (8 * c) & 255),
                  0.5f + 0.28209479f * g.features.data<float>()[27 * from + std::int64_t(c)], p.colour_step * 0.51);
    }
    const float root = float(p.colour[std::size_t(i)] >> 24) / 255;
    EXPECT_NEAR(root * root, 1 / (1 + std::exp(-g.opacity.data<float>()[from])), 0.004);
    for (int e = 0; e < 24; ++e) {
      const float largest_rest = p.rest_largest[e < 9 ? 0 : 1];
      EXPECT_NEAR(float(p.rest[std::size_t(32 * i + e)]) / 127 * largest_rest,
                  g.features.data<float>()[27 * from + 3 + e], largest_rest / 250);
    }
  }
}

TEST_F(ViewerPage, HoldsEverythingAndNamesNoOtherPlace) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 8);
  const ViewerOptions options{.title = "a <b>\"mouse\"</script>", .camera_names = {"front"}};
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 8), options);
  const std::string html = bytes(page);
  for (const char* place : {"http://", "https://", "src=", "href=\"", "{{", "</script>\"", "import "})
    EXPECT_EQ(html.find(place), std::string::npos) << place;
  const std::string open = "<script type=\"application/json\" id=\"scene\">";
  const auto from = html.find(open) + open.size();
  const auto json = nlohmann::json::parse(html.substr(from, html.find("</script>", from) - from));
  EXPECT_EQ(json["title"], options.title);
  EXPECT_EQ(json["count"], scene.gaussians);
  EXPECT_EQ(json["cameras"].size(), 8u);
  EXPECT_EQ(json["cameras"][0]["name"], "front");
  EXPECT_EQ(json["cameras"][1]["name"], "camera 2");
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 8), options);
  EXPECT_EQ(bytes(page), html);
  EXPECT_THROW(write_viewer("/proc/nowhere/viewer.html", gaussians_of(scene), cameras_of(scene, 8)), DataError);
}

// ---- in a browser ----

std::vector<std::uint8_t> from_base64(const std::string& s) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<std::uint32_t, 256> value{};
  for (std::uint32_t i = 0; i < 64; ++i) value[static_cast<std::uint8_t>(digits[i])] = i;
  std::vector<std::uint8_t> out;
  for (std::size_t i = 0; i + 3 < s.size(); i += 4) {
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 4; ++k) group = group << 6 | value[static_cast<std::uint8_t>(s[i + k])];
    for (const int shift : {16, 8, 0}) out.push_back(static_cast<std::uint8_t>(group >> shift));
  }
  for (std::size_t i = s.size(); i > 0 && s[i - 1] == '='; --i) out.pop_back();
  return out;
}

class ViewerInBrowser : public ViewerPage {
 protected:
  void SetUp() override {
    ViewerPage::SetUp();
    if (test::Browser::program().empty()) GTEST_SKIP() << "no Chromium: install it, or name it in MFL_CHROMIUM";
  }
  // PSNR of what the page shows from each of these cameras (from 1) against the renderer's image.
  void compare(test::Browser& browser, const Gaussians& g, const Cameras& all, const std::vector<int>& shown,
               const std::array<float, 3>& background, float modifier, double least) {
    write_viewer(page, g, all, {.background = background, .scaling_modifier = modifier});
    std::string list;
    for (const int c : shown) list += (list.empty() ? "" : ",") + std::to_string(c);
    browser.open(page, "still=" + list);
    ASSERT_EQ(browser.wait_for_state(std::chrono::seconds(60)), "done")
        << browser.evaluate("document.getElementById('message').textContent");
    const auto stills = browser.evaluate(
        "[...document.querySelectorAll('pre.still')].map(p => [p.dataset.camera, p.dataset.width, p.dataset.height, "
        "p.textContent])");
    ASSERT_EQ(stills.size(), shown.size());
    const Stream stream = Stream::create(kCpu, "test");
    Arena arena(kCpu, std::size_t{4} << 30, "test"), splats(kCpu, std::size_t{4} << 30, "render");
    Ctx cx{.stream = stream, .arena = arena, .precision = Precision::of(DType::f32), .saving = false};
    Renderer renderer{.scaling_modifier = modifier, .background = {background[0], background[1], background[2]}};
    for (std::size_t i = 0; i < shown.size(); ++i) {
      EXPECT_EQ(stills[i][0], std::to_string(shown[i]));
      ASSERT_EQ(stills[i][1], std::to_string(all.width));
      ASSERT_EQ(stills[i][2], std::to_string(all.height));
      const auto rgba = from_base64(stills[i][3]);
      Renderer::Saved none;
      const Tensor image = renderer.forward(
          cx, splats, g, {all.c2w.rows(shown[i] - 1, 1), all.fxfycxcy.rows(shown[i] - 1, 1), all.height, all.width},
          none);
      ASSERT_EQ(rgba.size(), std::size_t(image.numel() / 3 * 4));
      double error = 0, variance = 0, mean = 0;
      for (std::int64_t p = 0; p < image.numel(); ++p) mean += image.data<float>()[p] / double(image.numel());
      for (std::int64_t p = 0; p < image.numel(); ++p) {
        const double ours = std::clamp(double(image.data<float>()[p]), 0.0, 1.0),
                     shown_value = rgba[std::size_t(p / 3 * 4 + p % 3)] / 255.0;
        error += (ours - shown_value) * (ours - shown_value), variance += (ours - mean) * (ours - mean);
      }
      const double psnr = 10 * std::log10(double(image.numel()) / error);
      std::printf("camera %d, %d x %d, %lld Gaussians: %.2f dB\n", shown[i], all.width, all.height,
                  static_cast<long long>(g.xyz.shape()[0]), psnr);
      EXPECT_GT(psnr, least);
      EXPECT_GT(variance / double(image.numel()), 1e-3) << "an empty picture is easily equal";
    }
  }
};

TEST_F(ViewerInBrowser, ShowsATrainedSceneAsOurRendererDoes) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 96);
  test::Browser browser(test::Browser::program());
  compare(browser, gaussians_of(scene), cameras_of(scene, 256), {1, 4, 8}, {1, 1, 1}, 1, 38);
}
TEST_F(ViewerInBrowser, ShowsAFreshSceneAsOurRendererDoes) {
  const test::SplatScene scene = test::ring_scene(SceneKind::initialised, 32);
  test::Browser browser(test::Browser::program());
  compare(browser, gaussians_of(scene), cameras_of(scene, 128), {2}, {0, 0, 0}, 1, 32);
}
TEST_F(ViewerInBrowser, ShowsHarmonicsOfEveryDegree) {
  test::Browser browser(test::Browser::program());
  for (const int degree : {0, 1, 2, 3}) {
    SCOPED_TRACE(degree);
    const test::SplatScene scene = test::ring_scene(SceneKind::trained, 8);
    Cameras cameras = cameras_of(scene, 160);
    cameras.height = 120;  // the principal point is no longer in the middle
    compare(browser, blobs(400, degree), cameras, {3, 5}, {0.2f, 0.5f, 0.7f}, 0.8f, 34);
  }
}

TEST_F(ViewerInBrowser, SortsByItselfWhereWorkersAreForbidden) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 8);
  test::Browser browser(test::Browser::program());
  browser.call("Page.enable");
  browser.call("Page.addScriptToEvaluateOnNewDocument", {{"source", "Worker = undefined"}});
  compare(browser, blobs(300, 0), cameras_of(scene, 96), {6}, {1, 1, 1}, 1, 34);
  EXPECT_EQ(browser.evaluate("viewer.sorter.place"), "main thread");
}

TEST_F(ViewerInBrowser, AHundredThousandGaussiansInSoftwareRendering) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 130);
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 512));
  test::Browser browser(test::Browser::program());
  for (const int level : {0, 3}) {  // at rest; and as it moves where drawing is slow
    browser.open(page, text("frames=8&size=512x512&level=", level));
    ASSERT_EQ(browser.wait_for_state(std::chrono::seconds(60)), "done");
    const auto r =
        nlohmann::json::parse(browser.evaluate("document.querySelector('pre.frames').textContent").get<std::string>());
    std::printf("%lld Gaussians, 512 x 512, level %d: %.0f ms to draw, %.0f ms to sort beside it; %s\n",
                static_cast<long long>(scene.gaussians), level, r["draw_ms"].get<double>(), r["sort_ms"].get<double>(),
                r["graphics"].get<std::string>().c_str());
  }
}

// As many Gaussians as the model makes, where nothing but the processor draws: slow, but it appears. Takes a minute or two.
TEST_F(ViewerInBrowser, AMillionAndAHalfLoadInSoftwareRendering) {
  if (!std::getenv("MFL_SLOW_TESTS")) GTEST_SKIP() << "MFL_SLOW_TESTS=1 runs it";
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 512);
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 512));
  std::printf("%lld Gaussians, a page of %.1f MiB\n", static_cast<long long>(scene.gaussians), double(fs::file_size(page)) / 1048576);
  test::Browser browser(test::Browser::program());
  const auto begin = std::chrono::steady_clock::now();
  browser.open(page);
  ASSERT_EQ(browser.wait_for_state(std::chrono::seconds(300)), "shown");
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_EQ(browser.evaluate("document.getElementById('message').hidden"), true);
  EXPECT_EQ(browser.evaluate("viewer.scene.count"), scene.gaussians);
  EXPECT_GT(browser.evaluate("viewer.painter.seen").get<std::int64_t>(), scene.gaussians / 2);
  std::printf("shown after %.1f s; the page's own memory %.0f MiB; %s\n", seconds,
              browser.evaluate("performance.memory.usedJSHeapSize / 1048576").get<double>(), browser.evaluate("viewer.painter.device").get<std::string>().c_str());
}

// As many Gaussians as the model makes, drawn by a graphics card through OpenGL or Vulkan.
TEST_F(ViewerInBrowser, AMillionAndAHalfOnAGpu) {
  const std::string renderer =
      "(() => { const gl = document.createElement('canvas').getContext('webgl2'), more = gl && gl.getExtension('WEBGL_debug_renderer_info'); "
      "return more ? gl.getParameter(more.UNMASKED_RENDERER_WEBGL) : 'none'; })()";
  std::unique_ptr<test::Browser> browser;
  std::string found;
  for (const char* flag : {"--use-angle=gl-egl", "--use-angle=vulkan"}) {
    browser = std::make_unique<test::Browser>(test::Browser::program(), std::vector<std::string>{flag, "--ignore-gpu-blocklist", "--enable-features=Vulkan"});
    const std::string name = browser->evaluate(renderer);
    found += (found.empty() ? "" : "; ") + std::string(flag) + ": " + name;
    if (name.find("NVIDIA") != std::string::npos || name.find("AMD") != std::string::npos || name.find("Intel") != std::string::npos) break;
    browser.reset();
  }
  if (!browser) GTEST_SKIP() << "the browser finds no graphics card (" << found << ")";
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 512);
  compare(*browser, gaussians_of(scene), cameras_of(scene, 512), {2}, {1, 1, 1}, 1, 38);
  for (const char* size : {"512x512", "1920x1080"}) {
    browser->open(page, text("frames=60&level=0&size=", size));
    ASSERT_EQ(browser->wait_for_state(std::chrono::seconds(120)), "done") << browser->evaluate("document.getElementById('message').textContent");
    const auto r = nlohmann::json::parse(browser->evaluate("document.querySelector('pre.frames').textContent").get<std::string>());
    std::printf("%lld Gaussians, %s: %.1f ms to draw, %.0f ms to sort beside it; %s\n", static_cast<long long>(scene.gaussians), size,
                r["draw_ms"].get<double>(), r["sort_ms"].get<double>(), r["graphics"].get<std::string>().c_str());
    EXPECT_LT(r["draw_ms"].get<double>(), 33);   // 30 frames a second
  }
}

TEST_F(ViewerInBrowser, FollowsKeysMouseAndSliders) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 16);
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 64), {.title = "one mouse"});
  test::Browser browser(test::Browser::program());
  browser.open(page);
  ASSERT_EQ(browser.wait_for_state(std::chrono::seconds(60)), "shown");
  // Waits until the panel marks this camera (from 0) as the one that is looked from; -1: none.
  auto becomes = [&](int camera) {
    const std::string marked =
        "[...document.querySelectorAll('#cameras button')].findIndex(b => b.ariaPressed === 'true')";
    return browser.evaluate("new Promise(done => { let n = 0; const t = setInterval(() => { const m = " + marked +
                            "; if (m === " + std::to_string(camera) +
                            " || ++n > 400) clearInterval(t), done(m); }, 30); })") == camera;
  };
  auto mouse = [&](const char* type, double x, double y, int buttons) {
    browser.call("Input.dispatchMouseEvent",
                 {{"type", type}, {"x", x}, {"y", y}, {"button", "left"}, {"buttons", buttons}, {"clickCount", 1}});
  };
  auto key = [&](const char* k) {
    browser.call("Input.dispatchKeyEvent", {{"type", "keyDown"}, {"key", k}, {"text", k}});
  };
  EXPECT_TRUE(becomes(0));
  key("3");
  EXPECT_TRUE(becomes(2));
  mouse("mousePressed", 300, 300, 1);
  for (int i = 1; i <= 8; ++i) mouse("mouseMoved", 300 + 10 * i, 300 + i, 1);
  mouse("mouseReleased", 380, 308, 0);
  EXPECT_TRUE(becomes(-1));
  // A click on the outline of a camera.
  const auto at = browser.evaluate(
      "(() => { const s = viewer.frusta.seen, i = s.findIndex(p => p && p[0][0] > 0 && p[0][0] < 700 && p[0][1] > 20 "
      "&& "
      "p[0][1] < innerHeight && viewer.camera_at(p[0][0], p[0][1]) === s.indexOf(p)); return [i, s[i][0][0], "
      "s[i][0][1]]; })()");
  mouse("mousePressed", at[1], at[2], 1);
  mouse("mouseReleased", at[1], at[2], 0);
  EXPECT_TRUE(becomes(at[0]));
  const double reach = browser.evaluate("viewer.view.reach");
  browser.call("Input.dispatchMouseEvent",
               {{"type", "mouseWheel"}, {"x", 300}, {"y", 300}, {"deltaX", 0}, {"deltaY", -240}});
  EXPECT_TRUE(becomes(-1));
  EXPECT_LT(browser.evaluate("viewer.view.reach").get<double>(), reach);
  EXPECT_EQ(browser.evaluate("(() => { const s = document.getElementById('opacity'); s.value = -1; s.dispatchEvent(new "
                             "Event('input')); return viewer.look.opacity; })()"),
            0.5);
  browser.evaluate("HTMLAnchorElement.prototype.click = function() { document.body.dataset.saved = this.download; }");
  key("s");
  EXPECT_EQ(browser.evaluate("new Promise(done => { let n = 0; const t = setInterval(() => { if "
                             "(document.body.dataset.saved || ++n > 200) clearInterval(t), "
                             "done(document.body.dataset.saved); }, 30); })"),
            "one_mouse.png");
  key("?");
  EXPECT_EQ(browser.evaluate("document.getElementById('help').open"), true);
}

TEST_F(ViewerInBrowser, SaysInASentenceWhatIsMissing) {
  const test::SplatScene scene = test::ring_scene(SceneKind::trained, 8);
  write_viewer(page, gaussians_of(scene), cameras_of(scene, 64));
  test::Browser browser(test::Browser::program(), {"--disable-3d-apis"});
  browser.open(page);
  EXPECT_EQ(browser.wait_for_state(std::chrono::seconds(60)), "failed");
  EXPECT_NE(browser.evaluate("document.getElementById('message').textContent").get<std::string>().find("WebGL 2"),
            std::string::npos);
}

}  // namespace
}  // namespace mfl::gslrm
