// `mfl_data info`: one screen about any file of ours. What a file is, its first bytes decide, not its name.
#pragma once

#include <string>

namespace mfl::data::info {

// Several lines. Throws DataError where the file is damaged or of no kind that is known here.
std::string describe(const std::string& path, bool all_cameras);

// ---- one function a kind ----
std::string describe_packed(const std::string& path, bool all_cameras);  // .h5, .h5#split, lists of them
std::string describe_recording(const std::string& folder);
std::string describe_samples(const std::string& list_or_folder);
std::string describe_cameras(const std::string& opencv_cameras_json);
std::string describe_calibration(const std::string& new_cam_pkl);
std::string describe_image(const std::string& path);
std::string describe_video(const std::string& path);
std::string describe_weights(
    const std::string& path);  // safetensors, torch.save, MatConvNet; checkpoints with their counters
std::string describe_gaussians(const std::string& ply);
std::string describe_events(const std::string& event_file);

}  // namespace mfl::data::info
