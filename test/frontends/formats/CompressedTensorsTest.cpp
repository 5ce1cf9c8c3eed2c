// Matrices in several tensors: that they are found, that all of their parts and
// nothing else goes into them, and what each kind of bad part is told.
#include "frontends/formats/CompressedTensors.h"
#include "frontends/formats/EncodedTensor.h"

#include "test/frontends/formats/TestCompressed.h"

#include <gmock/gmock.h>

using namespace lapidary;
using namespace lapidary::test;
using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

namespace {

class CompressedTensorsTest : public testing::Test {
protected:
  Result<Checkpoint> open(const CompressedCase &matrix) {
    matrix.write(folder);
    return Checkpoint::open(folder.path());
  }
  /// Opening says all of this.
  void expectError(const CompressedCase &matrix,
                   const std::vector<std::string> &parts) {
    auto checkpoint = open(matrix);
    ASSERT_FALSE(checkpoint.ok()) << "expected: " << parts[0];
    for (const std::string &part : parts)
      EXPECT_THAT(checkpoint.status().message(), HasSubstr(part));
  }
  static std::vector<std::string> names(const Checkpoint &checkpoint) {
    std::vector<std::string> list;
    for (const TensorInfo &tensor : checkpoint.tensors())
      list.push_back(tensor.name);
    return list;
  }
  static Scheme schemeOf(const TensorInfo &tensor) {
    Scheme scheme;
    scheme.name = tensor.encoding;
    scheme.fields = tensor.matrix->fields;
    return scheme;
  }
  /// Reading all rows.
  Status read(const CompressedCase &matrix) {
    auto checkpoint = LAPIDARY_TRY(open(matrix));
    const TensorInfo &tensor = *checkpoint.find("a.proj.weight");
    Scheme scheme = schemeOf(tensor);
    std::vector<EncodedRow> rows(tensor.shape[0],
                                 EncodedRow(scheme, tensor.shape[1]));
    return readEncodedRows(checkpoint, tensor, scheme, 0, rows);
  }
  void expectReadError(const CompressedCase &matrix,
                       const std::vector<std::string> &parts) {
    Status status = read(matrix);
    ASSERT_FALSE(status.ok()) << "expected: " << parts[0];
    EXPECT_EQ(status.getCode(), StatusCode::InvalidData);
    for (const std::string &part : parts)
      EXPECT_THAT(status.message(), HasSubstr(part));
  }

  TemporaryFolder folder;
};

class CompressedFormTest : public CompressedTensorsTest,
                           public testing::WithParamInterface<CompressedForm> {
};

TEST_P(CompressedFormTest, IsOneTensor) {
  CompressedCase matrix = CompressedMaker(GetParam()).make();
  auto checkpoint = open(matrix);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_THAT(names(*checkpoint), ElementsAre("a.proj.weight"));
  const TensorInfo &tensor = *checkpoint->find("a.proj.weight");
  EXPECT_THAT(tensor.shape, ElementsAre(matrix.rows, matrix.columns));
  EXPECT_EQ(tensor.encoding, matrix.scheme);
  auto scheme = getEncodedScheme(tensor);
  ASSERT_TRUE(scheme.ok());
  EXPECT_EQ(*scheme, matrix.scheme);
  uint64_t bytes = 0;
  for (const TestTensor &part : matrix.tensors)
    bytes += part.bytes.size();
  EXPECT_EQ(tensor.bytes, bytes);
  // It has no bytes of its own.
  std::vector<uint8_t> byte(1);
  EXPECT_EQ(checkpoint->read(tensor, 0, byte).getCode(),
            StatusCode::InvalidArgument);
}

TEST_P(CompressedFormTest, RowsDoNotDependOnWhereReadingBegins) {
  auto checkpoint = open(CompressedMaker(GetParam()).make());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  const TensorInfo &tensor = *checkpoint->find("a.proj.weight");
  Scheme scheme = schemeOf(tensor);
  int64_t count = tensor.shape[0];
  std::vector<EncodedRow> whole(count, EncodedRow(scheme, tensor.shape[1]));
  Status status = readEncodedRows(*checkpoint, tensor, scheme, 0, whole);
  ASSERT_TRUE(status.ok()) << status.message();
  for (int64_t first = 0; first < count; ++first) {
    std::vector<EncodedRow> rest(count - first,
                                 EncodedRow(scheme, tensor.shape[1]));
    ASSERT_TRUE(readEncodedRows(*checkpoint, tensor, scheme, first, rest).ok());
    for (size_t field = 0; field < scheme.fields.size(); ++field)
      for (int64_t row = first; row < count; ++row)
        ASSERT_THAT(rest[row - first].getBytes(field),
                    testing::ElementsAreArray(whole[row].getBytes(field)));
  }
  std::vector<EncodedRow> two(2, EncodedRow(scheme, tensor.shape[1]));
  for (int64_t first : {int64_t(-1), count - 1, count, INT64_MAX})
    EXPECT_EQ(
        readEncodedRows(*checkpoint, tensor, scheme, first, two).getCode(),
        StatusCode::InvalidArgument);
  // A scheme of other fields.
  scheme.fields[1].columns = 4096;
  EXPECT_EQ(readEncodedRows(*checkpoint, tensor, scheme, 0, two).getCode(),
            StatusCode::InvalidData);
}

TEST_P(CompressedFormTest, EveryPartIsNeeded) {
  CompressedCase matrix = CompressedMaker(GetParam()).make();
  for (size_t i = 0; i < matrix.tensors.size(); ++i) {
    CompressedCase less = matrix;
    std::string name = less.tensors[i].name;
    less.tensors.erase(less.tensors.begin() + long(i));
    // Another part may be the first to miss it.
    bool codes = name.ends_with("weight") || name.ends_with("packed");
    expectError(less, {codes ? "found neither" : "tensor \"" + name});
  }
}

TEST_P(CompressedFormTest, EveryPartHasItsShapeAndType) {
  CompressedCase matrix = CompressedMaker(GetParam()).make();
  for (size_t i = 0; i < matrix.tensors.size(); ++i) {
    CompressedCase more = matrix;
    TestTensor &part = more.tensors[i];
    // Twice as much of it.
    part.shape.insert(part.shape.begin(), 2);
    part.bytes += part.bytes;
    expectError(more, {"tensor \"a.proj.weight", "expected"});
    CompressedCase other = matrix;
    other.tensors[i].type = "F64";
    other.tensors[i].bytes.resize(other.tensors[i].bytes.size() * 8);
    other.tensors[i].shape.clear();
    other.tensors[i].shape.push_back(
        int64_t(other.tensors[i].bytes.size() / 8));
    expectError(other, {"tensor \"a.proj.weight", "expected", "F64"});
  }
}

INSTANTIATE_TEST_SUITE_P(All, CompressedFormTest,
                         testing::ValuesIn(compressedForms()),
                         [](const auto &info) {
                           std::string name = info.param.name;
                           std::erase(name, ' ');
                           return name;
                         });

TEST_F(CompressedTensorsTest, OnlyPartsAreTakenAway) {
  CompressedCase matrix = compressedCase("fp8 channel");
  matrix.group()["input_activations"] = {
      {"num_bits", 8}, {"type", "float"}, {"dynamic", true}};
  matrix.config["kv_cache_scheme"] = {{"num_bits", 8}, {"type", "float"}};
  for (const char *name :
       {"a.proj.input_scale", "a.proj.bias", "b.norm.weight", "b.input_scale",
        "a.k_scale", "a.v_scale", "a.proj.weight_g"})
    matrix.tensors.push_back({name, "BF16", {1}});
  auto checkpoint = open(matrix);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  // What belongs to no matrix is left for the importer to refuse.
  EXPECT_THAT(names(*checkpoint),
              ElementsAre("a.proj.bias", "a.proj.weight", "a.proj.weight_g",
                          "b.input_scale", "b.norm.weight"));
  EXPECT_THAT(checkpoint->remarks(),
              testing::UnorderedElementsAre(
                  HasSubstr("keys and values were meant to be quantized"),
                  AllOf(HasSubstr("rounded to 8-bit floats"),
                        HasSubstr("--activations"))));
  // Without such a cache its scales are leftovers too.
  matrix.config["kv_cache_scheme"] = nullptr;
  checkpoint = open(matrix);
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_NE(checkpoint->find("a.k_scale"), nullptr);
}

TEST_F(CompressedTensorsTest, TakesPlainMatricesBesideQuantizedOnes) {
  CompressedCase matrix = compressedCase("int4 symmetric");
  matrix.tensors.push_back({"lm_head.weight", "BF16", {4, 8}});
  auto checkpoint = open(matrix);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(describeTensor(*checkpoint->find("lm_head.weight")), "BF16 [4, 8]");
  EXPECT_EQ(describeTensor(*checkpoint->find("a.proj.weight")),
            "int4_group32_bf16 [21, 64]");
}

TEST_F(CompressedTensorsTest, TheGroupThatDescribesAMatrixIsUsed) {
  CompressedCase matrix = compressedCase("int4 symmetric"),
                 other = compressedCase("fp8 block"),
                 third = compressedCase("int3");
  for (CompressedCase *more : {&other, &third})
    for (TestTensor part : more->tensors) {
      part.name = (more == &other ? "b" : "c") + part.name.substr(1);
      matrix.tensors.push_back(part);
    }
  matrix.config["format"] = "mixed-precision";
  matrix.config["config_groups"]["group_1"] = other.group();
  matrix.config["config_groups"]["group_2"] = third.group();
  matrix.group()["format"] = "pack-quantized";
  matrix.config["config_groups"]["group_1"]["format"] = "float-quantized";
  matrix.config["config_groups"]["group_2"]["format"] = "pack-quantized";
  auto checkpoint = open(matrix);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint->find("a.proj.weight")->encoding, "int4_group32_bf16");
  EXPECT_EQ(checkpoint->find("b.proj.weight")->encoding, "fp8_e4m3_group8_f32");
  EXPECT_EQ(checkpoint->find("c.proj.weight")->encoding,
            "int3_group32_f16_zero");
}

TEST_F(CompressedTensorsTest, WidthsMustBeThoseOfTheConfiguration) {
  CompressedCase matrix = compressedCase("int4 symmetric");
  matrix.weights()["num_bits"] = 5;
  expectError(matrix, {"weight_packed", "expected I32 [21, 10]",
                       "5-bit integers of [21, 64]", "found I32 [21, 8]"});
  matrix = compressedCase("int4 symmetric");
  matrix.weights()["group_size"] = 16;
  expectError(matrix, {"weight_scale", "expected F32, F16 or BF16 [21, 4]",
                       "found BF16 [21, 2]"});
  matrix.weights()["group_size"] = 24;
  expectError(matrix, {"weight_packed", "groups of 24", "found 64"});
  matrix = compressedCase("fp8 channel");
  matrix.config["format"] = "pack-quantized";
  matrix.weights()["type"] = "int";
  expectError(matrix, {"tensor \"a.proj.weight\"", "(pack-quantized)",
                       "found F8_E4M3 [6, 22]"});
}

TEST_F(CompressedTensorsTest, ShapesAreBounded) {
  CompressedCase matrix = compressedCase("int4 symmetric");
  for (auto [rows, columns] : std::vector<std::pair<int64_t, int64_t>>{
           {21, 0}, {-1, 64}, {21, INT64_MAX}, {INT64_MAX / 4, 64}}) {
    matrix.tensor("weight_shape").bytes =
        bytesOf(std::vector<int64_t>{rows, columns});
    expectError(matrix, {"weight_shape", "expected rows and columns in 1..",
                         std::to_string(columns)});
  }
  for (auto [rows, columns] :
       std::vector<std::pair<int64_t, int64_t>>{{21, 65}, {20, 64}, {21, 56}}) {
    matrix.tensor("weight_shape").bytes =
        bytesOf(std::vector<int64_t>{rows, columns});
    expectError(matrix, {"weight_packed", "expected I32"});
  }
  // No bytes, and a number of columns that is no one's.
  matrix = compressedCase("nvfp4");
  matrix.tensor("weight_packed").shape = {int64_t(1) << 62, 0};
  matrix.tensor("weight_packed").bytes = "";
  matrix.tensor("weight_packed").type = "U8";
  expectError(matrix, {"weight_packed", "below 2^30"});
}

TEST_F(CompressedTensorsTest, RefusesColumnsInAnotherOrder) {
  CompressedCase matrix = compressedCase("int4 symmetric");
  matrix.tensors.push_back({"a.proj.weight_g_idx", "I32", {1}, "0123"});
  expectError(matrix, {"weight_g_idx", "actorder group"});
}

TEST_F(CompressedTensorsTest, RefusesAMatrixTwice) {
  CompressedCase matrix = compressedCase("int4 symmetric");
  matrix.tensors.push_back({"a.proj.weight", "BF16", {21, 64}});
  expectError(matrix, {"tensor \"a.proj.weight\"", "weight_packed"});
}

TEST_F(CompressedTensorsTest, RefusesScalesOfAPlainMatrix) {
  CompressedCase matrix = compressedCase("fp8 channel");
  matrix.tensor("weight") = {"a.proj.weight", "BF16", {6, 22}};
  expectError(matrix, {"tensor \"a.proj.weight\"", "float-quantized",
                       "found BF16 [6, 22]"});
}

TEST_F(CompressedTensorsTest, ZeroPointsOfSymmetricMatricesAreZero) {
  CompressedCase matrix = compressedCase("int8");
  matrix.tensors.push_back(
      {"a.proj.weight_zero_point", "I8", {7, 1}, std::string(7, '\0')});
  EXPECT_TRUE(read(matrix).ok());
  matrix.tensors.back().bytes[6] = 1;
  expectError(matrix, {"weight_zero_point", "zeros alone"});
}

TEST_F(CompressedTensorsTest, GlobalScalesArePositiveNumbers) {
  for (const char *name : {"nvfp4", "modelopt nvfp4"})
    for (float bad : {0.0f, -1.0f, std::nanf(""), INFINITY}) {
      CompressedCase matrix = compressedCase(name);
      matrix.tensors.back().bytes = bytesOf(std::vector<float>{bad});
      expectError(matrix, {matrix.tensors.back().name, "positive number"});
    }
  // Its reciprocal is not finite.
  CompressedCase matrix = compressedCase("nvfp4");
  matrix.tensors.back().bytes = bytesOf(std::vector<float>{1e-40f});
  expectError(matrix, {"weight_global_scale", "reciprocal"});
}

TEST_F(CompressedTensorsTest, ScalesAreFinite) {
  CompressedCase matrix = compressedCase("fp8 channel");
  for (float bad : {std::nanf(""), INFINITY, -INFINITY, 1e38f}) {
    matrix.tensor("weight_scale")
        .bytes.replace(8, 4, bytesOf(std::vector<float>{bad}));
    expectReadError(matrix, {"tensor \"a.proj.weight_scale\"", "finite",
                             "row 2 in column 0"});
  }
  matrix = compressedCase("int4 symmetric");
  matrix.tensor("weight_scale")
      .bytes.replace(2 * 7, 2, bytesOf(std::vector<uint16_t>{0x7fc0}));
  expectReadError(matrix, {"weight_scale", "nan", "row 3 in column 1"});
  matrix = compressedCase("nvfp4");
  matrix.tensor("weight_scale").bytes[4] = char(0xff);
  expectReadError(matrix, {"weight_scale", "nan", "row 1 in column 1"});
  matrix = compressedCase("mxfp4");
  matrix.tensor("weight_scale").bytes[9] = char(0xff);
  expectReadError(matrix, {"weight_scale", "nan", "row 4 in column 1"});
}

TEST_F(CompressedTensorsTest, CodesAreNumbers) {
  CompressedCase matrix = compressedCase("fp8 tensor");
  matrix.tensor("weight").bytes[25] = char(0xff);
  expectReadError(matrix,
                  {"tensor \"a.proj.weight\"", "NaN", "row 1 in column 3"});
}

TEST_F(CompressedTensorsTest, ZeroPointsAreInTheCodesRange) {
  for (int bad : {-9, 8, 127}) {
    CompressedCase matrix = compressedCase("int4 old zeros");
    matrix.tensor("weight_zero_point").bytes[4] = char(bad);
    expectReadError(matrix,
                    {"weight_zero_point", "-8..7",
                     "found " + std::to_string(bad), "row 1 in column 1"});
  }
}

} // namespace
