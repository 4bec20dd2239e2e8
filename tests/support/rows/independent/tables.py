"""Rows stay apart in the operators of ai.onnx.ml and on texts."""

from tests.support.rows.case import read_cases

_TREE = (
    "nodes_treeids=[0,0,0], nodes_nodeids=[0,1,2], nodes_featureids=[1,0,0], nodes_values=[0.5,0.0,0.0], "
    'nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_truenodeids=[1,0,0], nodes_falsenodeids=[2,0,0]'
)

_TABLE = """
tree_regressor: a tree
    float[N,3] x => float[N,1] y
    y = ai.onnx.ml.TreeEnsembleRegressor<$TREE, n_targets=1, target_treeids=[0,0], target_nodeids=[1,2],
    target_ids=[0,0], target_weights=[1.5,-2.0]>(x)
tree_classifier: labels and probabilities
    float[N,3] x => int64[N] label, float[N,2] p
    label, p = ai.onnx.ml.TreeEnsembleClassifier<$TREE, class_treeids=[0,0], class_nodeids=[1,2], class_ids=[0,1],
    class_weights=[1.0,1.0], classlabels_int64s=[4,7], post_transform="NONE">(x)
linear_classifier: as scikit-learn's logistic regression is exported
    float[N,3] x => int64[N] label, float[N,2] p
    label, s = ai.onnx.ml.LinearClassifier<coefficients=[0.5,-0.2,0.3,-0.5,0.2,-0.3], intercepts=[0.1,-0.1],
    classlabels_ints=[0,1], multi_class=1, post_transform="LOGISTIC">(x) p = ai.onnx.ml.Normalizer<norm="L1">(s)
linear_classifier_strings: labels are texts
    float[N,3] x => string[N] label
    label, s = ai.onnx.ml.LinearClassifier<coefficients=[0.5,-0.2,0.3,-0.5,0.2,-0.3], intercepts=[0.1,-0.1],
    classlabels_strings=["no","yes"], post_transform="SOFTMAX">(x)
linear_regressor: two targets
    float[N,3] x => float[N,2] y
    y = ai.onnx.ml.LinearRegressor<coefficients=[0.5,-0.2,0.3,1.0,2.0,3.0], intercepts=[0.1,0.2], targets=2>(x)
svm_regressor: two support vectors
    float[N,3] x => float[N,1] y
    y = ai.onnx.ml.SVMRegressor<coefficients=[0.5,-0.5], kernel_params=[0.1,0.0,3.0], kernel_type="RBF", n_supports=2,
    rho=[0.2], support_vectors=[0.1,0.2,0.3,0.4,0.5,0.6]>(x)
svm_classifier: two support vectors
    float[N,3] x => int64[N] label, float[N,2] p
    label, p = ai.onnx.ml.SVMClassifier<classlabels_ints=[0,1], coefficients=[0.5,-0.5], kernel_params=[0.3,0.0,3.0],
    kernel_type="RBF", rho=[0.1], support_vectors=[0.1,0.2,0.3,0.9,0.5,0.6], vectors_per_class=[1,1]>(x)
scaler_imputer: columns are filled, scaled and cut at a threshold
    float[N,3] x => float[N,3] y
    a = ai.onnx.ml.Imputer<imputed_value_floats=[1.0,2.0,3.0], replaced_value_float=0.0>(x)
    b = ai.onnx.ml.Scaler<offset=[0.1,0.2,0.3], scale=[1.0,2.0,0.5]>(a) y = ai.onnx.ml.Binarizer<threshold=0.2>(b)
scaler_1d: one offset and one scale work on each number, whatever the axes
    float[N] x => float[N] y | y = ai.onnx.ml.Scaler<offset=[0.5], scale=[2.0]>(x)
normalizer_max: each row's own largest
    float[N,3] x => float[N,3] y | y = ai.onnx.ml.Normalizer<norm="MAX">(x)
one_hot_encoder: categories that are texts
    string[N,1] x => float[N,1,3] y | y = ai.onnx.ml.OneHotEncoder<cats_strings=["a","b","cat"], zeros=1>(x)
columns_extracted: two columns
    float[N,3] x => float[N,2] y | y = ai.onnx.ml.ArrayFeatureExtractor(x, [2,0])
feature_vectorizer: columns side by side
    float[N,2] a, float[N,3] b => float[N,5] y | y = ai.onnx.ml.FeatureVectorizer<inputdimensions=[2,3]>(a, b)
label_encoder: texts become numbers
    string[N] x => int64[N] y
    y = ai.onnx.ml.LabelEncoder<keys_strings=["a","b","Dog"], values_int64s=[5,6,7], default_int64=-1>(x)
category_mapper: numbers become texts
    int64[N] x => string[N] y
    y = ai.onnx.ml.CategoryMapper<cats_int64s=[1,2,3], cats_strings=["x","y","z"], default_string="none">(x)
columns_of_many_types: a table, as scikit-learn's column transformer is exported
    float[N,1] age, string[N,1] city, int64[N,1] visits => float[N,5] y
    a = ai.onnx.ml.Scaler<offset=[1.0], scale=[0.5]>(age)
    b = ai.onnx.ml.OneHotEncoder<cats_strings=["a","b","Dog"], zeros=1>(city) c = Reshape(b, [-1,3])
    d = Cast<to=1>(visits) e = Concat<axis=1>(a, c, d) y = ai.onnx.ml.Normalizer<norm="L2">(e)
tree_ensemble_5 (ml 5): the newer operator for trees
    float[N,3] x => float[N,1] y
    y = ai.onnx.ml.TreeEnsemble<aggregate_function=1, leaf_targetids=[0,0], leaf_weights = float[2] {1.5, -2.0},
    n_targets=1, nodes_falseleafs=[1], nodes_falsenodeids=[1], nodes_featureids=[0], nodes_modes = uint8[1] {0},
    nodes_splits = float[1] {0.2}, nodes_trueleafs=[1], nodes_truenodeids=[0], post_transform=0, tree_roots=[0]>(x)
text_tfidf_2d (draws x=0..4): each row is a document
    int64[N,5] x => float[N,4] y
    y = TfIdfVectorizer<max_gram_length=2, max_skip_count=0, min_gram_length=1, mode="TF", ngram_counts=[0,2],
    ngram_indexes=[0,1,2,3], pool_int64s=[1,2,1,2,2,1]>(x)
text_tfidf_strings: each row is a document of words
    string[N,4] x => float[N,2] y
    y = TfIdfVectorizer<max_gram_length=1, max_skip_count=0, min_gram_length=1, mode="IDF", ngram_counts=[0],
    ngram_indexes=[0,1], pool_strings=["a","cat"], weights=[0.5,2.0]>(x)
text_lower: no word is removed, so each text stays
    string[N] x => string[N] y | y = StringNormalizer<case_change_action="LOWER", locale="C">(x)
text_concat (constants sep; opset 20): texts are joined
    string[N] x, string[N] z => string[N] y | a = StringConcat(x, sep) y = StringConcat(a, z)
text_matches (opset 20): whether a text matches
    string[N,2] x => bool[N,2] y | y = RegexFullMatch<pattern="[a-z]+">(x)
text_split_count (opset 20): the number of words
    string[N] x => int64[N] y | t, y = StringSplit(x)
text_of_numbers: numbers become texts
    float[N,2] x => string[N,2] y | r = Round(x) i = Cast<to=7>(r) y = Cast<to=8>(i)
text_equal (constants word; opset 19): whether a text is this word
    string[N] x => bool[N] y | y = Equal(x, word)
numbers_of_text (draws x="1"|"2.5"|"-3e2"): texts become numbers
    string[N] x => float[N] y | f = Cast<to=1>(x) y = Mul(f, 2.0)
"""

CASES = read_cases("independent", _TABLE, shorthands={"TREE": _TREE}, constants={"sep": ["-"], "word": "cat"})
