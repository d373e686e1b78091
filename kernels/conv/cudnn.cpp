#include "kernels/conv/cudnn.h"

#include <map>
#include <memory>
#include <tuple>

#include "runtime/cuda_check.h"
#include "runtime/log.h"

namespace mfl::cuda {
namespace {

std::string reason(cudnnStatus_t status) {
  char last[512] = {};
  cudnnGetLastErrorString(last, sizeof last);
  return last[0] ? text(cudnnGetErrorString(status), ": ", last) : std::string(cudnnGetErrorString(status));
}

// A way that cuDNN does not offer for a shape, as opposed to a failure. Statuses are of a category (thousands) and a
// specific code; which of these two categories an unsupported combination gets differs between versions.
bool unsupported(cudnnStatus_t status) {
  const int category = CUDNN_STATUS_CATEGORY(int(status));
  return category == int(CUDNN_STATUS_NOT_SUPPORTED) || category == int(CUDNN_STATUS_BAD_PARAM);
}

void require(cudnnStatus_t status, const char* call, const ConvShape& shape) {
  if (status != CUDNN_STATUS_SUCCESS) [[unlikely]]
    throw_error<DeviceError>("cuDNN: ", call, " for ", shape, ": ", reason(status));
}
#define MFL_CUDNN(call, shape) require((call), #call, shape)

// Owns one cuDNN object.
template <class T, cudnnStatus_t (*kCreate)(T*), cudnnStatus_t (*kDestroy)(T)>
class Object {
 public:
  explicit Object(const ConvShape& shape) { MFL_CUDNN(kCreate(&object_), shape); }
  ~Object() { (void)kDestroy(object_); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  operator T() const { return object_; }

 private:
  T object_ = nullptr;
};
using Handle = Object<cudnnHandle_t, cudnnCreate, cudnnDestroy>;
using TensorDesc = Object<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor>;
using FilterDesc = Object<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor>;
using ConvDesc = Object<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;
using ActivationDesc = Object<cudnnActivationDescriptor_t, cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor>;

// Descriptors of one shape, and what was found to work.
struct Plan {
  TensorDesc x, y, bias;
  FilterDesc weight;
  ConvDesc conv;
  ActivationDesc relu, identity;
  // Index of the first way that works, by [with bias][with ReLU]; -1: not tried yet.
  int way[2][2] = {{-1, -1}, {-1, -1}};
  int backward = -1, backward_weight = -1;   // 0: cuDNN; 1: it has none

  explicit Plan(const ConvShape& s) : x(s), y(s), bias(s), weight(s), conv(s), relu(s), identity(s) {
    const bool bf16 = s.dtype == DType::bf16;
    const cudnnDataType_t type = bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    MFL_CUDNN(cudnnSetTensor4dDescriptor(x, CUDNN_TENSOR_NHWC, type, s.images, s.in, s.height, s.width), s);
    MFL_CUDNN(cudnnSetTensor4dDescriptor(y, CUDNN_TENSOR_NHWC, type, s.images, s.out, s.out_height, s.out_width), s);
    MFL_CUDNN(cudnnSetTensor4dDescriptor(bias, CUDNN_TENSOR_NHWC, type, 1, s.out, 1, 1), s);
    MFL_CUDNN(cudnnSetFilter4dDescriptor(weight, type, CUDNN_TENSOR_NHWC, s.out, s.in, s.kernel_h, s.kernel_w), s);
    MFL_CUDNN(cudnnSetConvolution2dDescriptor(conv, s.pad, s.pad, s.stride, s.stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                              CUDNN_DATA_FLOAT), s);
    MFL_CUDNN(cudnnSetConvolutionMathType(conv, bf16 ? CUDNN_TENSOR_OP_MATH : CUDNN_FMA_MATH), s);
    MFL_CUDNN(cudnnSetActivationDescriptor(relu, CUDNN_ACTIVATION_RELU, CUDNN_NOT_PROPAGATE_NAN, 0), s);
    MFL_CUDNN(cudnnSetActivationDescriptor(identity, CUDNN_ACTIVATION_IDENTITY, CUDNN_NOT_PROPAGATE_NAN, 0), s);
  }
};

// Device memory that only grows; one a stream, so that two streams never share it.
struct Workspace {
  void* data = nullptr;
  std::size_t bytes = 0;
  ~Workspace() {
    if (data) (void)cudaFree(data);
  }
  void* at_least(std::size_t wanted) {
    if (wanted > bytes) {
      if (data) MFL_CUDA(cudaFree(data));   // waits for the work that uses it
      data = nullptr, bytes = 0;
      MFL_CUDA(cudaMalloc(&data, wanted));
      bytes = wanted;
    }
    return data;
  }
};

struct Library {
  std::unique_ptr<Handle> handle;
  std::map<void*, Workspace> workspaces;
  std::map<ConvShape, Plan> plans;
};

// One a device and host thread: cuDNN handles are not shared between threads.
Library& library(const Stream& s, const ConvShape& shape) {
  thread_local std::map<int, Library> libraries;
  Library& lib = libraries[s.device().index];
  MFL_CUDA(cudaSetDevice(s.device().index));
  if (!lib.handle) lib.handle = std::make_unique<Handle>(shape);
  MFL_CUDNN(cudnnSetStream(*lib.handle, static_cast<cudaStream_t>(s.native())), shape);
  return lib;
}

constexpr float kOne = 1, kZero = 0;
constexpr cudnnConvolutionFwdAlgo_t kForward[] = {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                                                  CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM};
constexpr cudnnConvolutionBwdDataAlgo_t kBackward = CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;   // the deterministic one
constexpr cudnnConvolutionBwdFilterAlgo_t kBackwardWeight = CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;   // likewise

}  // namespace

std::ostream& operator<<(std::ostream& out, const ConvShape& s) {
  return out << "conv2d x [" << s.images << ", " << s.height << ", " << s.width << ", " << s.in << "] weight [" << s.out
             << ", " << s.kernel_h << ", " << s.kernel_w << ", " << s.in << "] stride " << s.stride << " pad " << s.pad << ' '
             << s.dtype;
}

ConvDone cudnn_conv_fwd(const Stream& s, const ConvShape& shape, const void* x, const void* weight, const void* bias,
                        bool relu, void* y) {
  Library& lib = library(s, shape);
  const cudnnHandle_t handle = *lib.handle;
  Plan& plan = lib.plans.try_emplace(shape, shape).first->second;
  int& way = plan.way[bias != nullptr][relu];
  // Ways 0 and 1: bias and activation in the same call, by either algorithm; 2 and 3: the product alone; 4: none.
  std::string refusals;
  for (int w = way < 0 ? (bias ? 0 : 2) : way; w < 4; ++w) {
    const cudnnConvolutionFwdAlgo_t algorithm = kForward[w % 2];
    std::size_t bytes = 0;
    const char* call = "cudnnGetConvolutionForwardWorkspaceSize";
    cudnnStatus_t status =
        cudnnGetConvolutionForwardWorkspaceSize(handle, plan.x, plan.weight, plan.conv, plan.y, algorithm, &bytes);
    if (status == CUDNN_STATUS_SUCCESS) {
      void* workspace = lib.workspaces[s.native()].at_least(bytes);
      if (w < 2) {
        call = "cudnnConvolutionBiasActivationForward";
        status = cudnnConvolutionBiasActivationForward(handle, &kOne, plan.x, x, plan.weight, weight, plan.conv, algorithm,
                                                       workspace, bytes, &kZero, plan.y, y, plan.bias, bias,
                                                       relu ? plan.relu : plan.identity, plan.y, y);
      } else {
        call = "cudnnConvolutionForward";
        status = cudnnConvolutionForward(handle, &kOne, plan.x, x, plan.weight, weight, plan.conv, algorithm, workspace,
                                         bytes, &kZero, plan.y, y);
      }
    }
    if (status == CUDNN_STATUS_SUCCESS) {
      if (way < 0 && w > (bias ? 0 : 2)) log_info("cuDNN: ", shape, " runs by way ", w, " (", refusals, ")");
      way = w;
      return w < 2 ? ConvDone::all : ConvDone::product;
    }
    if (way >= 0 || !unsupported(status)) require(status, call, shape);
    refusals += text(refusals.empty() ? "" : "; ", call, " by algorithm ", int(algorithm), ": ", reason(status));
  }
  if (way < 0) log_warning("cuDNN has no forward for ", shape, "; it runs on the direct kernel, slowly (", refusals, ")");
  way = 4;
  return ConvDone::nothing;
}

bool cudnn_conv_bwd_input(const Stream& s, const ConvShape& shape, const void* dz, const void* weight, void* dx,
                          bool accumulate) {
  Library& lib = library(s, shape);
  const cudnnHandle_t handle = *lib.handle;
  Plan& plan = lib.plans.try_emplace(shape, shape).first->second;
  if (plan.backward == 1) return false;
  std::size_t bytes = 0;
  const char* call = "cudnnGetConvolutionBackwardDataWorkspaceSize";
  cudnnStatus_t status =
      cudnnGetConvolutionBackwardDataWorkspaceSize(handle, plan.weight, plan.y, plan.conv, plan.x, kBackward, &bytes);
  if (status == CUDNN_STATUS_SUCCESS) {
    void* workspace = lib.workspaces[s.native()].at_least(bytes);
    call = "cudnnConvolutionBackwardData";
    status = cudnnConvolutionBackwardData(handle, &kOne, plan.weight, weight, plan.y, dz, plan.conv, kBackward, workspace,
                                          bytes, accumulate ? &kOne : &kZero, plan.x, dx);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    plan.backward = 0;
    return true;
  }
  if (plan.backward == 0 || !unsupported(status)) require(status, call, shape);
  log_warning("cuDNN has no deterministic input gradient for ", shape, "; it runs on the direct kernel, slowly (", call, ": ",
              reason(status), ")");
  plan.backward = 1;
  return false;
}

bool cudnn_conv_bwd_weight(const Stream& s, const ConvShape& shape, const void* x, const void* dy, void* dweight,
                           bool accumulate) {
  Library& lib = library(s, shape);
  const cudnnHandle_t handle = *lib.handle;
  Plan& plan = lib.plans.try_emplace(shape, shape).first->second;
  if (plan.backward_weight == 1) return false;
  std::size_t bytes = 0;
  const char* call = "cudnnGetConvolutionBackwardFilterWorkspaceSize";
  cudnnStatus_t status =
      cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, plan.x, plan.y, plan.conv, plan.weight, kBackwardWeight, &bytes);
  if (status == CUDNN_STATUS_SUCCESS) {
    void* workspace = lib.workspaces[s.native()].at_least(bytes);
    call = "cudnnConvolutionBackwardFilter";
    status = cudnnConvolutionBackwardFilter(handle, &kOne, plan.x, x, plan.y, dy, plan.conv, kBackwardWeight, workspace, bytes,
                                            accumulate ? &kOne : &kZero, plan.weight, dweight);
  }
  if (status == CUDNN_STATUS_SUCCESS) {
    plan.backward_weight = 0;
    return true;
  }
  if (plan.backward_weight == 0 || !unsupported(status)) require(status, call, shape);
  log_warning("cuDNN has no deterministic weight gradient for ", shape, "; it runs on the direct kernel, slowly (", call,
              ": ", reason(status), ")");
  plan.backward_weight = 1;
  return false;
}

}  // namespace mfl::cuda
