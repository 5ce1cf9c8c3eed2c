// What VK_KHR_cooperative_matrix adds to Vulkan's headers, of which Debian 12
// has 1.3.239. From 1.3.255 on they have it themselves: once that is what we
// ask for, this file can go. Names and numbers are the specification's.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

namespace lapidary {

inline constexpr char cooperativeMatrixExtension[] =
    "VK_KHR_cooperative_matrix";
inline constexpr auto cooperativeMatrixFeaturesType =
    static_cast<VkStructureType>(1000506000);
inline constexpr auto cooperativeMatrixPropertiesType =
    static_cast<VkStructureType>(1000506001);

/// VkComponentTypeKHR and VkScopeKHR.
inline constexpr int32_t componentFloat16 = 0, componentFloat32 = 1,
                         scopeSubgroup = 3;

struct VkPhysicalDeviceCooperativeMatrixFeaturesKHR {
  VkStructureType sType;
  void *pNext;
  VkBool32 cooperativeMatrix;
  VkBool32 cooperativeMatrixRobustBufferAccess;
};

struct VkCooperativeMatrixPropertiesKHR {
  VkStructureType sType;
  void *pNext;
  uint32_t MSize, NSize, KSize;
  int32_t AType, BType, CType, ResultType;
  VkBool32 saturatingAccumulation;
  int32_t scope;
};

using PFN_vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR =
    VkResult(VKAPI_PTR *)(VkPhysicalDevice, uint32_t *,
                          VkCooperativeMatrixPropertiesKHR *);

/// Whether a subgroup multiplies such matrices of f16 with sums in f32.
inline bool multipliesHalves(const VkCooperativeMatrixPropertiesKHR &matrix) {
  return matrix.AType == componentFloat16 && matrix.BType == componentFloat16 &&
         matrix.CType == componentFloat32 &&
         matrix.ResultType == componentFloat32 && matrix.scope == scopeSubgroup;
}

} // namespace lapidary
