"""Rows mix in the operators of ai.onnx.ml, and on texts."""

from tests.support.rows.case import among, read_cases

_TREE = (
    "nodes_treeids=[0,0,0], nodes_nodeids=[0,1,2], nodes_featureids=[0,0,0], nodes_values=[0.5,0.0,0.0], "
    'nodes_modes=["BRANCH_LEQ","LEAF","LEAF"], nodes_truenodeids=[1,0,0], nodes_falsenodeids=[2,0,0], '
    "n_targets=1, target_treeids=[0,0], target_nodeids=[1,2], target_ids=[0,0], target_weights=[1.5,-2.0]"
)

_TABLE = """
normalizer_1d: a tensor of one axis is one row of many features
    float[N] x => float[N] y | y0 = ai.onnx.ml.Normalizer<norm="L1">(x) y = Reshape(y0, [-1])
normalizer_transposed: columns are normalised over the batch
    float[N,3] x => float[N,3] y | t = Transpose(x) n = ai.onnx.ml.Normalizer<norm="MAX">(t) y = Transpose(n)
linear_regressor_1d (seen failure): one feature without an axis of its own: two rows are two features
    float[N] x => float[N,1] y | y = ai.onnx.ml.LinearRegressor<coefficients=[0.5], intercepts=[0.1], targets=1>(x)
svm_regressor_1d (seen failure): one feature without an axis of its own: two rows are two features
    float[N] x => float[N,1] y
    y = ai.onnx.ml.SVMRegressor<coefficients=[0.5,-0.5], kernel_params=[0.1,0.0,3.0], kernel_type="RBF", n_supports=2,
    rho=[0.2], support_vectors=[0.1,0.2]>(x)
feature_vectorizer_1d (axes y=1; seen shape): a tensor of one axis is one row, of which one feature is kept
    float[N] x => float[1,N] y | y = ai.onnx.ml.FeatureVectorizer<inputdimensions=[1]>(x)
tokens_to_longest (seen shape): as many tokens as the longest text
    string[N] x => string[N,M] y | y = com.microsoft.Tokenizer<mark=0, mincharnum=1, pad_value="#", separators=[" "]>(x)
tree_of_batch_mean: a tree over rows that are centred on the batch
    float[N,3] x => float[N,1] y
    m = ReduceMean<axes=[0]>(x) c = Sub(x, m) y = ai.onnx.ml.TreeEnsembleRegressor<$TREE>(c)
linear_classifier_of_batch_sum: a classifier over a running sum of rows
    float[N,3] x => float[N,2] y
    m = CumSum(x, 0)
    l, y = ai.onnx.ml.LinearClassifier<coefficients=[0.5,-0.2,0.3,-0.5,0.2,-0.3], intercepts=[0.1,-0.1],
    classlabels_ints=[0,1]>(m)
columns_are_rows: the features that are extracted are the first row
    float[N,1] x => float[N,2] y
    t = Transpose(x) a = ai.onnx.ml.ArrayFeatureExtractor(t, [0,0]) s = Shape(x) n = Slice(s, [0], [1])
    k = Concat<axis=0>(n, [2]) y = Expand(a, k)
labels_counted: the share of a label in the batch
    string[N] x => float[N] y
    i = ai.onnx.ml.LabelEncoder<keys_strings=["a","b"], values_floats=[1.0,2.0], default_float=0.0>(x)
    m = ReduceSum<keepdims=0>(i) y = Div(i, m)
stop_words (seen shape): texts that are stop words go, and with them their rows
    string[N] x => string[M] y | y = StringNormalizer<case_change_action="LOWER", locale="C", stopwords=["the","a"]>(x)
split_to_most_words (opset 20; seen shape): as many columns as the text with the most words
    string[N] x => string[N,M] y | y, n = StringSplit(x)
split_then_first_column_count (opset 20): how many words fewer than the longest text
    string[N] x => int64[N] y | t, n = StringSplit(x) s = Shape(t) w0 = Gather(s, 1) y = Sub(w0, n)
tfidf_1d (seen shape): a tensor of one axis is one document
    int64[N] x => float[M] y
    y = TfIdfVectorizer<max_gram_length=1, max_skip_count=0, min_gram_length=1, mode="TF", ngram_counts=[0],
    ngram_indexes=[0,1], pool_int64s=[1,2]>(x)
first_text_for_all (opset 20): the first text is written behind each
    string[N] x => string[N] y | f = Gather(x, 0) y = StringConcat(x, f)
texts_sorted_by_number: texts come in the order of the numbers
    string[N] x, float[N] k => string[N] y | s = Shape(k) v, i = TopK(k, s) y = Gather(x, i)
equal_to_any (opset 19): whether another row has the same text
    string[N] x => bool[N] y
    a = Unsqueeze(x, [1]) b = Unsqueeze(x, [0]) e = Equal(a, b) i = Cast<to=7>(e) c = ReduceSum<keepdims=0>(i, [1])
    y = Greater(c, 1)
standard_scores: columns are scaled by the batch
    float[N,2] x => float[N,2] y
    m = ReduceMean<axes=[0]>(x) c = Sub(x, m) q = Mul(c, c) v = ReduceMean<axes=[0]>(q) e = Add(v, 0.01) s = Sqrt(e)
    z = Div(c, s) y = ai.onnx.ml.Scaler<offset=[0.0,0.0], scale=[2.0,2.0]>(z)
stop_words_only (draws x="b"|"c"; seen shape): rows that are all stop words become one empty text
    string[N] x => string[M] y | y = StringNormalizer<is_case_sensitive=1, stopwords=["b"]>(x)
tfidf_1d_as_context (draws x=1..3): pairs of rows are counted
    int64[N] x => float[N] y
    t = TfIdfVectorizer<max_gram_length=2, max_skip_count=1, min_gram_length=2, mode="TF", ngram_counts=[0,0],
    ngram_indexes=[0], pool_int64s=[1,2]>(x) f = Cast<to=1>(x) m = ReduceSum<keepdims=0>(t) y = Add(f, m)
imputed_by_batch (draws x=missing): what is missing is filled with the mean of the batch
    float[N,2] x => float[N,2] y
    n = IsNaN(x) z = Where(n, 0.0, x) m = ReduceMean<axes=[0]>(z) y = Where(n, m, x)
"""

CASES = read_cases("mixing", _TABLE, {"TREE": _TREE}, draws={"missing": among(1.0, 2.0, 5.0, float("nan"))})
