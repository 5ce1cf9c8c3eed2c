// All ops of the dialect, for TableGen.
#ifndef LAP_OPS
#define LAP_OPS

include "LapKernelOps.td"
include "LapModelOps.td"
include "LapSchemeOps.td"
include "LapProgramOps.td"

#endif // LAP_OPS
