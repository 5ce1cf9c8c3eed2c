// Mean squared activations of the inputs of every linear op, from texts,
// pictures and sounds that run through the model.
#pragma once

#include "compiler/Reference.h"
#include "compiler/WeightSource.h"
#include "compiler/WeightValues.h"
#include "frontends/Import.h"
#include "runtime/media/Audio.h"
#include "runtime/media/ImagePreprocess.h"

namespace mlir::lap {

class Calibration {
public:
  /// The model must outlive this. `progress` gets elements of weights as they
  /// are read, from any thread; false stops the run, which then fails.
  Calibration(const ImportedModel &model,
              std::function<bool(int64_t elements)> progress);

  /// A prompt whose soft tokens are the media's rows, in order.
  LogicalResult runWindow(ArrayRef<int32_t> tokens,
                          const ReferenceTensor *media = nullptr);
  FailureOr<ReferenceTensor> embedImage(const lapidary::ImagePatches &image);
  FailureOr<ReferenceTensor> embedAudio(const lapidary::AudioFrames &sound);

  /// Elements of weights that a window reads, about.
  int64_t getWindowElements() const;
  /// Of each weight that was multiplied with something.
  Importance getImportance() const;

private:
  /// Of the columns of a weight.
  struct Squares {
    std::vector<double> sums;
    int64_t rows = 0;
  };
  void observe(LinearOp op, const ReferenceTensor &input);

  const ImportedModel &model;
  CheckpointValues stored;
  WatchedValues values;
  ReferenceInterpreter interpreter;
  llvm::StringMap<Squares> squares;
};

} // namespace mlir::lap
