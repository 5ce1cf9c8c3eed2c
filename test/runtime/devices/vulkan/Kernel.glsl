// What the kernels of tests begin with: the contract in
// runtime/schema/bundle.fbs.
layout(local_size_x = 1) in;
layout(push_constant) uniform Push {
  int stepRow, firstTile, windowBegin, windowEnd;
};
layout(set = 0, binding = 0) readonly buffer Sizes { ivec4 sizes[]; };
#define tokens sizes[stepRow].x
#define past sizes[stepRow].y
#define firstToken sizes[stepRow].z
#define chunk sizes[stepRow].w
#define tile (firstTile + int(gl_WorkGroupID.x))
#define Hidden 8
#define Vocabulary 48
#define Window 20
#define RoundedWindow 32
#define IN(n, type, name)                                                      \
  layout(set = 0, binding = 1 + n) readonly buffer B##n { type name[]; };
#define OUT(n, type, name)                                                     \
  layout(set = 0, binding = 1 + n) buffer B##n { type name[]; };
#define ringRow(position) ((position) % (RoundedWindow + chunk))
