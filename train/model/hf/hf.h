/* SPDX-License-Identifier: Apache-2.0
 *
 * Hugging Face directories in and out: which kind one is, its shapes, its tensors' names.
 */
#ifndef LV_TRAIN_MODEL_HF_HF_H
#define LV_TRAIN_MODEL_HF_HF_H

#include "train/model/params/params.h"
#include "train/model/shapes.h"

typedef enum {
    LV_HF_VISION,         /* a tower: CLIPVisionModel, or the vision half of a CLIPModel, ... */
    LV_HF_LANGUAGE,       /* LlamaForCausalLM, ... */
    LV_HF_LLAVA,          /* LlavaForConditionalGeneration */
    LV_HF_LLAVA_ORIGINAL, /* LlavaLlamaForCausalLM, ...: LLaVA's own names */
} lv_hf_kind;

/* lv_hf_dtype_of: what config.json says that the weights are, LV_BF16 if it does not. */
lv_dtype lv_hf_dtype_of(const char *dir);

/* lv_hf_language_dtype: what most elements of the language model in a directory of any kind are
 * stored as.
 * fails  as reading its config and the headers of its weights */
int lv_hf_language_dtype(lv_dtype *out, const char *dir);

/* Shapes from config.json. Keys that change the mathematics and are not implemented
 * (rope_scaling, sliding_window, another hidden_act, ...) fail by name with LV_ERR_UNSUPPORTED. */
int lv_hf_vision_config(lv_vision_config *out, const char *dir);
int lv_hf_language_config(lv_llama_config *out, const char *dir);

/* lv_hf_llava_config: everything, of a directory of either LLaVA kind. An original one without a
 * tower of its own leaves out->vision zero and sets *needs_tower. image_mean and image_std come
 * from preprocessor_config.json, or are the tower's. */
int lv_hf_llava_config(lv_llava_config *out, bool *needs_tower, const char *dir);

/* lv_llava_rows_per_image: feature rows of one image, after the connector. */
int lv_llava_rows_per_image(const lv_llava_config *config);

/* lv_hf_any_config: the kind of a directory and the shapes of the parts that it has; the others are
 * zero. The kind is also set if the shapes are refused.
 * fails  as the functions above; LV_ERR_UNSUPPORTED naming another model_type */
int lv_hf_any_config(lv_llava_config *out, lv_hf_kind *kind, const char *dir);

/* lv_hf_image_norm: image_mean and image_std of preprocessor_config.json; the tower's if there is no
 * such file. Its size and crop_size have to be image_size (0: not known, not looked at).
 * fails  LV_ERR_UNSUPPORTED naming a key of another preprocessing; LV_ERR_FORMAT, LV_ERR_IO */
int lv_hf_image_norm(float mean[3], float std[3], const struct lv_tower *tower, int64_t image_size,
                     const char *dir);

/* lv_hf_untie: clears config->text.tied if the weights at path hold an embedding and a head that
 * differ: those are two matrices, whatever config.json says. Looks at nothing if there are none.
 * fails  as lv_weights_open */
int lv_hf_untie(lv_llava_config *config, const char *path);

/* lv_hf_check_finite: the tensors of a part at path that fall to this rank: all values are finite.
 * fails  LV_ERR_FORMAT naming file or directory, and tensor; as lv_weights_open */
int lv_hf_check_finite(const lv_llava_config *config, const char *path, lv_part part, int rank,
                       int n_ranks);

/* lv_hf_load: fill the parameters of one part from a directory (or a single file, of a projector),
 * whatever the names that its kind gives them. Every tensor there must be known: an unknown one is
 * an error, but for buffers without a weight (inv_freq, position_ids) and a CLIPModel's text half.
 * out    every parameter of the part is filled; frozen ones may be mapped
 * fails  LV_ERR_SHAPE, LV_ERR_FORMAT naming a parameter that the directory lacks, LV_ERR_IO */
int lv_hf_load(lv_params *params, const lv_llava_config *config, const char *path, lv_part part);

extern const char lv_hf_digests_name[]; /* "digests.json", beside the files that it lists */

/* lv_hf_save_projector: projector.safetensors with the canonical names, and its digest in
 * digests.json beside it. */
int lv_hf_save_projector(lv_params *params, const char *dir, const char *name);

/* lv_hf_tokenizer: the tokenizer files of a directory.
 * next_id is what the tokenizers library gives to a token that is added, whatever id the files
 * give it: the size of the vocabulary, or one more than the largest added id. */
typedef struct {
    bool found;       /* false: the directory has no tokenizer */
    int64_t next_id;  /* only if found */
    int64_t image_id; /* of <image>; -1 if there is none */
} lv_hf_tokenizer;
int lv_hf_tokenizer_read(lv_hf_tokenizer *out, const char *dir); /* dir may be NULL */

/* lv_hf_ids: what a tokenizer and the packs of a run say of special ids; see lv_tokenizer_stops. */
enum { LV_HF_MAX_STOPS = 32 };
typedef struct {
    int32_t bos, eos; /* -1: none */
    int32_t stops[LV_HF_MAX_STOPS];
    int n_stops;
} lv_hf_ids;

/* lv_hf_save_llava: a whole directory. In the HF form if the connector has it (mlp2x_gelu,
 * linear), with the <image> token added (embedding and lm_head rows, padded to a multiple of 64) if
 * image_token_id is -1; else in LLaVA's own form: *original is set then.
 * in     tokenizer_dir: where tokenizer files are copied from; aspect_pad: for the processor;
 *        ids: its stops become "eos_token_id" of config.json and of generation_config.json, whose
 *        other members are those of tokenizer_dir's; NULL: config's
 *        dtype: of all tensors, LV_F32 or LV_BF16: values are those of lv_params_exact
 * out    config.json, generation_config.json, model*.safetensors, tokenizer and processor files,
 *        digests.json (written last)
 * fails  LV_ERR_IO, LV_ERR_FORMAT (tokenizer files that can not be extended), LV_ERR_UNSUPPORTED
 *        (LLaVA's own form of a family that has none) */
int lv_hf_save_llava(lv_params *params, const lv_llava_config *config, const char *tokenizer_dir,
                     const lv_hf_ids *ids, bool aspect_pad, lv_dtype dtype, const char *dir,
                     bool *original);

typedef struct {
    size_t n_tensors;
    int64_t from_bytes, to_bytes; /* of all tensors */
} lv_hf_conversion;

/* How far the two long parts of lv_hf_convert are; may be NULL. */
typedef struct {
    void (*checking)(int64_t done_bytes, int64_t all_bytes);
    void (*writing)(int64_t done_bytes, int64_t all_bytes);
} lv_hf_progress;

/* lv_hf_convert: a directory of any kind once more, its floating-point tensors as dtype (rounded to
 * nearest even), buffers of other dtypes as they are, config.json saying the dtype, all other files
 * copied but for weights in other formats, hidden files and folders. A warning names the first
 * tensor that is not finite. It appears whole or not at
 * all; its bytes pass through a buffer, whatever its size. If from has digests, they are checked.
 * in     to: not there yet, and not inside from; dtype: LV_BF16 or LV_F32
 * out    config.json, model*.safetensors, the copies, digests.json
 * fails  LV_ERR_CONFIG for to; as reading from does; LV_ERR_UNSUPPORTED for a parameter of a dtype
 *        that is not read; LV_ERR_IO */
int lv_hf_convert(lv_hf_conversion *out, const char *to, const char *from, lv_dtype dtype,
                  lv_hf_progress progress);

/* lv_hf_convert_note: one line for the user of a bf16 run whose frozen weights came from other
 * files: what narrowing them costs a rank, and how llava convert saves it.
 * in     n_bytes: of those weights in bf16
 * returns a text to free(); NULL if it is too little to mention (256 MB) */
char *lv_hf_convert_note(const char *dir, int64_t n_bytes);

/* lv_hf_check_empty: nothing is at dir, or an empty directory. lv_hf_check_replaceable: or a model
 * directory with its digests.json, all that is in it being listed and as it was written; read whole.
 * fails  LV_ERR_CONFIG naming what is there */
int lv_hf_check_empty(const char *dir);
int lv_hf_check_replaceable(const char *dir);

/* lv_hf_check_projector: dir has no file of that name, or the one that lv_hf_save_projector wrote,
 * told by digests.json.
 * fails  LV_ERR_CONFIG */
int lv_hf_check_projector(const char *dir, const char *name);

/* lv_hf_save_vision, lv_hf_save_language: the bare models, for llava init. */
int lv_hf_save_vision(lv_params *params, const lv_vision_config *config, const char *dir);
int lv_hf_save_language(lv_params *params, const lv_llama_config *config, const char *tokenizer_dir,
                        const char *dir);

#endif
