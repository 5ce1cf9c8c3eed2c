/* The C API of the Lapidary runtime: open a bundle, make a session, generate.
 *
 * Errors. Every function that can fail returns a lapidary_status; the text of
 * the calling thread's last failure is lapidary_error_message(). When a
 * function fails, its output parameters are unchanged unless it says otherwise.
 * No C++ exception leaves a function. A null pointer where an object is needed
 * is LAPIDARY_INVALID_ARGUMENT.
 *
 * Ownership. The caller owns what `open` and `create` give and ends it with
 * `close` or `destroy` (NULL is fine). A session holds what it needs of its
 * bundle, so either may go first. Inputs are read during the call only.
 *
 * Threads. Bundle functions may be called from any thread at once. A session is
 * used by one thread at a time; lapidary_session_cancel alone may be called
 * from any thread. Sessions of one bundle are independent of each other.
 *
 * Evolution. Structs that begin with `size` grow at their end: zero the struct,
 * then set size = sizeof(it). A field of 0 is the default. Functions are never
 * removed or changed.
 */
#ifndef LAPIDARY_H
#define LAPIDARY_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LAPIDARY_API __attribute__((visibility("default")))
#else
#define LAPIDARY_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum lapidary_status {
  LAPIDARY_OK = 0,
  /* The caller asked for what cannot be: a prompt longer than the context, a
     null pointer. */
  LAPIDARY_INVALID_ARGUMENT = 1,
  /* A file is truncated, altered or malformed; or the model's numbers are not
     finite. */
  LAPIDARY_INVALID_DATA = 2,
  LAPIDARY_NOT_FOUND = 3,
  /* The file is fine, but this build, machine or bundle cannot do it. */
  LAPIDARY_UNSUPPORTED = 4,
  LAPIDARY_OUT_OF_MEMORY = 5,
  LAPIDARY_IO_ERROR = 6,
  LAPIDARY_CANCELLED = 7,
  LAPIDARY_INTERNAL = 8
} lapidary_status;

typedef struct lapidary_bundle lapidary_bundle;
typedef struct lapidary_session lapidary_session;

/* "0.1.0". Lives as long as the library. */
LAPIDARY_API const char *lapidary_version(void);
/* What the last failing call of this thread said; "" before any. Lives until
 * the thread's next failing call. */
LAPIDARY_API const char *lapidary_error_message(void);

/* ---- Bundles ---- */

/* Maps and verifies a bundle file, all but the weights' hashes, which the first
 * session that computes verifies. The file must not change while it is open. */
LAPIDARY_API lapidary_status lapidary_bundle_open(const char *path,
                                                  lapidary_bundle **bundle);
LAPIDARY_API void lapidary_bundle_close(lapidary_bundle *bundle);
/* Verifies the weights' hashes now, so that no later step waits for it. */
LAPIDARY_API lapidary_status
lapidary_bundle_verify(const lapidary_bundle *bundle);

typedef struct lapidary_model_info {
  size_t size;
  int64_t context;
  int32_t vocabulary;
  int32_t hidden;
  /* -1 where the model has none. */
  int32_t bos_token, image_token, video_token, audio_token;
  /* float values of a patch, and samples of an audio frame; 0 where the model
   * has no such modality. */
  int32_t patch_values, frame_samples;
} lapidary_model_info;

/* Fills `info` as far as info->size goes. */
LAPIDARY_API lapidary_status
lapidary_bundle_model(const lapidary_bundle *bundle, lapidary_model_info *info);

/* Text to ids; special tokens written in the text become their ids. `*count`
 * becomes the number of ids, of which the first `capacity` are written; ids may
 * be NULL when capacity is 0. */
LAPIDARY_API lapidary_status lapidary_bundle_tokenize(
    const lapidary_bundle *bundle, const char *text, size_t text_bytes,
    int32_t *ids, size_t capacity, size_t *count);
/* Ids to text, UTF-8 without a terminating zero. `*bytes` becomes the length,
 * of which the first `capacity` bytes are written. Special tokens are left out
 * unless special_tokens is not 0. */
LAPIDARY_API lapidary_status lapidary_bundle_detokenize(
    const lapidary_bundle *bundle, const int32_t *ids, size_t count,
    int special_tokens, char *text, size_t capacity, size_t *bytes);

/* ---- Sessions ---- */

enum {
  /* draft: as many as are worth it, none where that is fastest. */
  LAPIDARY_DRAFT_AUTO = -1,
  LAPIDARY_DRAFT_OFF = -2,
  /* gpu_layers: no layer, only what is behind the last one. */
  LAPIDARY_GPU_LAYERS_NONE = -1
};

typedef struct lapidary_session_options {
  size_t size;
  /* Positions; 0: the model's longest. */
  int64_t context;
  /* Tokens a prefill step takes at most, a multiple of 16; 0: 512 or what the
   * bundle allows. An image's soft tokens must fit in one step. */
  int64_t chunk;
  /* 0: all. */
  int32_t threads;
  /* "cpu", "vulkan" (the best GPU), "vulkan:1" or "vulkan:" and a part of its
   * name; NULL: "cpu". */
  const char *device;
  /* Bytes to remember earlier positions in, so that the session can go back to
   * them where sliding layers have forgotten them; never exceeded. 0: none. */
  uint64_t snapshot_memory;
  /* Of a GPU: the last layers, which it runs while the CPU runs the others; 0:
   * all. The bundle needs code for both. */
  int32_t gpu_layers;
  /* Tokens that generate guesses ahead in each step, with the companion that
   * the bundle has or else from the text so far: what is chosen has the same
   * odds, only sooner. 0: LAPIDARY_DRAFT_AUTO with a companion, else
   * LAPIDARY_DRAFT_OFF. */
  int32_t draft;
} lapidary_session_options;

/* `options` may be NULL. LAPIDARY_OUT_OF_MEMORY, before anything is allocated,
 * when it will not fit. */
LAPIDARY_API lapidary_status lapidary_session_create(
    const lapidary_bundle *bundle, const lapidary_session_options *options,
    lapidary_session **session);
LAPIDARY_API void lapidary_session_destroy(lapidary_session *session);

/* Patches float[count][patch_values] in 0..1 with positions int32_t[count][2]
 * (x, y) to embeddings float[count][hidden], which the caller has room for. */
LAPIDARY_API lapidary_status lapidary_session_embed_image(
    lapidary_session *session, const float *patches, const int32_t *positions,
    size_t count, float *embeddings);
/* Frames float[count][frame_samples] to embeddings float[count][hidden]. */
LAPIDARY_API lapidary_status
lapidary_session_embed_audio(lapidary_session *session, const float *frames,
                             size_t count, float *embeddings);

/* The embeddings of one media item: float[count][hidden], one row a soft token.
 */
typedef struct lapidary_media {
  const float *embeddings;
  size_t count;
} lapidary_media;

/* Appends tokens to the session. Media stand in the order of their soft tokens.
 * On failure the session has the whole chunks that were done; see
 * lapidary_session_position. */
LAPIDARY_API lapidary_status lapidary_session_prefill(
    lapidary_session *session, const int32_t *tokens, size_t count,
    const lapidary_media *media, size_t media_count);
/* Appends one token. */
LAPIDARY_API lapidary_status lapidary_session_decode(lapidary_session *session,
                                                     int32_t token);
/* The logits of the last position, float[vocabulary]; they live until the
 * session's next call. An answer's steps on a GPU may leave none: decode gives
 * some. */
LAPIDARY_API lapidary_status lapidary_session_logits(
    const lapidary_session *session, const float **logits, size_t *count);
/* Tokens in the session; -1 for NULL. */
LAPIDARY_API int64_t lapidary_session_position(const lapidary_session *session);
/* Forgets all tokens. */
LAPIDARY_API lapidary_status lapidary_session_reset(lapidary_session *session);
/* Goes back to `position`, or to the nearest before it that can be reached: an
 * image is not cut, and what sliding layers have forgotten is reached by
 * snapshots only. `*reached`, unless NULL, becomes the new position. */
LAPIDARY_API lapidary_status lapidary_session_go_back(lapidary_session *session,
                                                      int64_t position,
                                                      int64_t *reached);
/* Writes the session's tokens and caches to a file, which appears when all of
 * it is written. */
LAPIDARY_API lapidary_status
lapidary_session_save(const lapidary_session *session, const char *path);
/* Replaces the session's state by a file's. LAPIDARY_NOT_FOUND where there is
 * none, LAPIDARY_INVALID_DATA for a file that is damaged or of something else,
 * LAPIDARY_INVALID_ARGUMENT for one of another bundle or beyond the context;
 * the session is empty then. */
LAPIDARY_API lapidary_status lapidary_session_load(lapidary_session *session,
                                                   const char *path);
/* Stops the call that the session is in, or else its next one, soon, with
 * LAPIDARY_CANCELLED. From any thread, and from a signal handler. */
LAPIDARY_API void lapidary_session_cancel(lapidary_session *session);

typedef struct lapidary_token_bias {
  int32_t token;
  /* Added to the token's logit; minus infinity forbids it. */
  float bias;
} lapidary_token_bias;

typedef struct lapidary_generate_options {
  size_t size;
  /* 0: until the context is full. */
  int64_t max_tokens;
  /* 0: greedy. */
  float temperature;
  /* 0: off. */
  int32_t top_k;
  /* 0 and 1: off. */
  float top_p;
  /* Not 0: the text shows special tokens. */
  int32_t special_tokens;
  uint64_t seed;
  /* Gets whole UTF-8 characters as they come, without a terminating zero;
   * returns 0 to stop. May be NULL. */
  int (*on_text)(void *user, const char *text, size_t bytes);
  void *user;
  /* Not 0: the tokens are the whole conversation and not what follows the
   * session's. What the session has in common with it, media included, is kept
   * and not computed again; the rest of its state is dropped. */
  int32_t whole;
  /* How many of the last tokens of prompt and answer the penalties count; 0:
   * 64, -1: all. */
  int32_t repeat_last_n;
  const lapidary_token_bias *logit_bias;
  size_t logit_bias_count;
  /* UTF-8 texts that end the answer and are no part of it. */
  const char *const *stop;
  size_t stop_count;
  /* Only tokens that are at least this part as likely as the likeliest; 0: off.
   */
  float min_p;
  /* 0 and 1: off. */
  float typical_p;
  /* Divides positive logits of tokens that came before; 0 and 1: off. */
  float repeat_penalty;
  /* Subtracted once, and for each time that a token came; 0: off. */
  float presence_penalty, frequency_penalty;
} lapidary_generate_options;

typedef enum lapidary_finish {
  /* The model ended its answer, or one of `stop` did. */
  LAPIDARY_FINISH_STOP = 0,
  /* max_tokens, or the context is full. */
  LAPIDARY_FINISH_LENGTH = 1,
  /* on_text returned 0 or the session was cancelled. */
  LAPIDARY_FINISH_CANCELLED = 2
} lapidary_finish;

typedef struct lapidary_generate_result {
  size_t size;
  /* Tokens of the answer, the stop token included. */
  size_t count;
  lapidary_finish finish;
  double prefill_seconds, decode_seconds;
  /* With `whole`: tokens of the prompt that the session had already. */
  size_t reused;
  /* Tokens that were guessed, and those of them that were right. */
  uint64_t drafted, accepted;
} lapidary_generate_result;

/* Prefills the tokens and answers them. The first `capacity` ids of the answer
 * are written to `ids` (NULL with 0). `options` and `result` may be NULL;
 * `result` is filled as far as result->size goes. The last token of the answer
 * is not in the session yet: a next prompt begins with it. */
LAPIDARY_API lapidary_status lapidary_session_generate(
    lapidary_session *session, const int32_t *tokens, size_t count,
    const lapidary_media *media, size_t media_count,
    const lapidary_generate_options *options, int32_t *ids, size_t capacity,
    lapidary_generate_result *result);

#ifdef __cplusplus
}
#endif

#endif
