// A Gemma 4 model in GGUF files: one of the text model and, for images and
// sounds, one of the projections (llama.cpp's "mmproj"). Says of them what the
// other files of a checkpoint's folder say.
#pragma once

#include "frontends/formats/Gguf.h"
#include "frontends/formats/ModelConfig.h"
#include "runtime/core/Status.h"

namespace lapidary {

/// The configuration; `media` may be null. Every key of the model's is either
/// honoured, known to change nothing, or refused. Errors name file and key.
Result<ModelConfig> readGgufConfig(const GgufFile &text, const GgufFile *media);

} // namespace lapidary
