//! The names that libraries give to the tensors of the models that are built in.

use lookbehind_common::job::Library;

use super::pattern::renamed;

/// The names of a library's model.
#[derive(Clone, Copy)]
pub(in crate::import) struct Names {
    /// What a model with a head puts before the names of the model without.
    base: Option<&'static str>,
    rules: &'static [Rule],
}

/// From a pattern of names to the model's.
enum Rule {
    /// The whole tensor.
    Tensor(&'static str, &'static str),
    /// One of several tensors that follow each other along the first dimension of the model's.
    Piece(&'static str, &'static str, usize),
    /// A module that is no part of the model's function.
    Unused(&'static str),
}

impl Names {
    /// The names of a library's model of a kind; `None` if they are not known.
    pub(in crate::import) fn of(library: Library, kind: &str) -> Option<Self> {
        let (base, rules) = match (kind, library) {
            ("resnet", Library::Timm | Library::Torchvision) => (None, RESNET),
            ("resnet", Library::HuggingFace) => (Some("resnet."), RESNET_HUGGING_FACE),
            ("vit", Library::Timm) => (None, &[] as &[Rule]),
            ("vit", Library::Torchvision) => (None, VIT_TORCHVISION),
            ("vit", Library::HuggingFace) => (Some("vit."), VIT_HUGGING_FACE),
            _ => return None,
        };
        Some(Self { base, rules })
    }

    /// As [`super::Renaming::rename`]; a name of no pattern stays as it is.
    pub(in crate::import) fn rename(self, name: &str) -> Option<(String, usize)> {
        let inner = self.base.and_then(|base| name.strip_prefix(base)).unwrap_or(name);
        for rule in self.rules {
            let (from, to, place) = match *rule {
                Rule::Tensor(from, to) => (from, to, 0),
                Rule::Piece(from, to, place) => (from, to, place),
                Rule::Unused(from) if renamed(inner, from, "").is_some() => return None,
                Rule::Unused(_) => continue,
            };
            if let Some(name) = renamed(inner, from, to) {
                return Some((name, place));
            }
        }
        Some((inner.to_owned(), 0))
    }
}

use Rule::{Piece, Tensor, Unused};

/// timm's and torchvision's `ResNet` (the names are the same).
const RESNET: &[Rule] =
    &[Tensor("layer#.#.downsample.*", "layer{0}.{1}.shortcut.*"), Tensor("fc.*", "linear.*")];

/// `ResNetForImageClassification` and `ResNetModel`.
const RESNET_HUGGING_FACE: &[Rule] = &[
    Tensor("embedder.embedder.convolution.*", "conv1.*"),
    Tensor("embedder.embedder.normalization.*", "bn1.*"),
    Tensor("encoder.stages.#.layers.#.layer.#.convolution.*", "layer{0+1}.{1}.conv{2+1}.*"),
    Tensor("encoder.stages.#.layers.#.layer.#.normalization.*", "layer{0+1}.{1}.bn{2+1}.*"),
    Tensor("encoder.stages.#.layers.#.shortcut.convolution.*", "layer{0+1}.{1}.shortcut.0.*"),
    Tensor("encoder.stages.#.layers.#.shortcut.normalization.*", "layer{0+1}.{1}.shortcut.1.*"),
    Tensor("classifier.1.*", "linear.*"),
];

/// `VisionTransformer` of torchvision.
const VIT_TORCHVISION: &[Rule] = &[
    Tensor("class_token", "cls_token"),
    Tensor("conv_proj.*", "patch_embed.proj.*"),
    Tensor("encoder.pos_embedding", "pos_embed"),
    Tensor("encoder.layers.encoder_layer_#.ln_1.*", "blocks.{0}.norm1.*"),
    Tensor("encoder.layers.encoder_layer_#.self_attention.in_proj_weight", "blocks.{0}.attn.qkv.weight"),
    Tensor("encoder.layers.encoder_layer_#.self_attention.in_proj_bias", "blocks.{0}.attn.qkv.bias"),
    Tensor("encoder.layers.encoder_layer_#.self_attention.out_proj.*", "blocks.{0}.attn.proj.*"),
    Tensor("encoder.layers.encoder_layer_#.ln_2.*", "blocks.{0}.norm2.*"),
    Tensor("encoder.layers.encoder_layer_#.mlp.0.*", "blocks.{0}.mlp.fc1.*"),
    Tensor("encoder.layers.encoder_layer_#.mlp.3.*", "blocks.{0}.mlp.fc2.*"),
    // The same in files of before torchvision 0.14.
    Tensor("encoder.layers.encoder_layer_#.mlp.linear_1.*", "blocks.{0}.mlp.fc1.*"),
    Tensor("encoder.layers.encoder_layer_#.mlp.linear_2.*", "blocks.{0}.mlp.fc2.*"),
    Tensor("encoder.ln.*", "norm.*"),
    Tensor("heads.head.*", "head.*"),
];

/// `ViTForImageClassification` and `ViTModel`, whose pooler the classifier does not use.
const VIT_HUGGING_FACE: &[Rule] = &[
    Tensor("embeddings.cls_token", "cls_token"),
    Tensor("embeddings.position_embeddings", "pos_embed"),
    Tensor("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
    Tensor("encoder.layer.#.layernorm_before.*", "blocks.{0}.norm1.*"),
    Piece("encoder.layer.#.attention.attention.query.*", "blocks.{0}.attn.qkv.*", 0),
    Piece("encoder.layer.#.attention.attention.key.*", "blocks.{0}.attn.qkv.*", 1),
    Piece("encoder.layer.#.attention.attention.value.*", "blocks.{0}.attn.qkv.*", 2),
    Tensor("encoder.layer.#.attention.output.dense.*", "blocks.{0}.attn.proj.*"),
    Tensor("encoder.layer.#.layernorm_after.*", "blocks.{0}.norm2.*"),
    Tensor("encoder.layer.#.intermediate.dense.*", "blocks.{0}.mlp.fc1.*"),
    Tensor("encoder.layer.#.output.dense.*", "blocks.{0}.mlp.fc2.*"),
    // The same in a state_dict of Transformers 5, which still writes files with the names above.
    Tensor("layers.#.layernorm_before.*", "blocks.{0}.norm1.*"),
    Piece("layers.#.attention.q_proj.*", "blocks.{0}.attn.qkv.*", 0),
    Piece("layers.#.attention.k_proj.*", "blocks.{0}.attn.qkv.*", 1),
    Piece("layers.#.attention.v_proj.*", "blocks.{0}.attn.qkv.*", 2),
    Tensor("layers.#.attention.o_proj.*", "blocks.{0}.attn.proj.*"),
    Tensor("layers.#.layernorm_after.*", "blocks.{0}.norm2.*"),
    Tensor("layers.#.mlp.*", "blocks.{0}.mlp.*"),
    Tensor("layernorm.*", "norm.*"),
    Tensor("classifier.*", "head.*"),
    Unused("pooler.*"),
];
