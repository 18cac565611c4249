"""The types that a model file may hold: a constant list, in code, that no file can widen.

Keys are the kinds of node of the skops format, values the full names of the types that may stand there. What is not
here is refused when a model is fitted (so that nothing is trained that could not be read back) and again when a file
is read. Functions, methods, partials and operators are never allowed: they are how a file would run code.
"""

from __future__ import annotations

from types import MappingProxyType

_LINEAR = (
    "_base.LinearRegression",
    "_bayes.ARDRegression",
    "_bayes.BayesianRidge",
    "_coordinate_descent.ElasticNet",
    "_coordinate_descent.ElasticNetCV",
    "_coordinate_descent.Lasso",
    "_coordinate_descent.LassoCV",
    "_glm.glm.GammaRegressor",
    "_glm.glm.PoissonRegressor",
    "_glm.glm.TweedieRegressor",
    "_huber.HuberRegressor",
    "_least_angle.Lars",
    "_least_angle.LassoLars",
    "_logistic.LogisticRegression",
    "_logistic.LogisticRegressionCV",
    "_omp.OrthogonalMatchingPursuit",
    "_passive_aggressive.PassiveAggressiveClassifier",
    "_passive_aggressive.PassiveAggressiveRegressor",
    "_perceptron.Perceptron",
    "_quantile.QuantileRegressor",
    "_ridge.Ridge",
    "_ridge.RidgeCV",
    "_ridge.RidgeClassifier",
    "_ridge.RidgeClassifierCV",
    "_stochastic_gradient.SGDClassifier",
    "_stochastic_gradient.SGDRegressor",
    "_theil_sen.TheilSenRegressor",
)
_TREES = (
    "ensemble._bagging.BaggingClassifier",
    "ensemble._bagging.BaggingRegressor",
    "ensemble._forest.ExtraTreesClassifier",
    "ensemble._forest.ExtraTreesRegressor",
    "ensemble._forest.RandomForestClassifier",
    "ensemble._forest.RandomForestRegressor",
    "ensemble._gb.GradientBoostingClassifier",
    "ensemble._gb.GradientBoostingRegressor",
    "ensemble._hist_gradient_boosting.binning._BinMapper",
    "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier",
    "ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoostingRegressor",
    "ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "ensemble._weight_boosting.AdaBoostClassifier",
    "ensemble._weight_boosting.AdaBoostRegressor",
    "tree._classes.DecisionTreeClassifier",
    "tree._classes.DecisionTreeRegressor",
    "tree._classes.ExtraTreeClassifier",
    "tree._classes.ExtraTreeRegressor",
)
_OTHERS = (
    "_loss.link.HalfLogitLink",
    "_loss.link.IdentityLink",
    "_loss.link.Interval",
    "_loss.link.LogLink",
    "_loss.link.LogitLink",
    "_loss.link.MultinomialLogit",
    "_loss.loss.AbsoluteError",
    "_loss.loss.ExponentialLoss",
    "_loss.loss.HalfBinomialLoss",
    "_loss.loss.HalfGammaLoss",
    "_loss.loss.HalfMultinomialLoss",
    "_loss.loss.HalfPoissonLoss",
    "_loss.loss.HalfSquaredError",
    "_loss.loss.HalfTweedieLoss",
    "_loss.loss.HalfTweedieLossIdentity",
    "_loss.loss.HuberLoss",
    "_loss.loss.PinballLoss",
    "calibration.CalibratedClassifierCV",
    "calibration._CalibratedClassifier",
    "calibration._SigmoidCalibration",
    "cross_decomposition._pls.PLSRegression",
    "discriminant_analysis.LinearDiscriminantAnalysis",
    "discriminant_analysis.QuadraticDiscriminantAnalysis",
    "dummy.DummyClassifier",
    "dummy.DummyRegressor",
    "kernel_ridge.KernelRidge",
    "naive_bayes.BernoulliNB",
    "naive_bayes.ComplementNB",
    "naive_bayes.GaussianNB",
    "naive_bayes.MultinomialNB",
    "neighbors._classification.KNeighborsClassifier",
    "neighbors._nearest_centroid.NearestCentroid",
    "neighbors._regression.KNeighborsRegressor",
    "neural_network._multilayer_perceptron.MLPClassifier",
    "neural_network._multilayer_perceptron.MLPRegressor",
    "neural_network._stochastic_optimizers.AdamOptimizer",
    "neural_network._stochastic_optimizers.SGDOptimizer",
    "preprocessing._label.LabelBinarizer",
    "preprocessing._label.LabelEncoder",
    "svm._classes.LinearSVC",
    "svm._classes.LinearSVR",
    "svm._classes.NuSVC",
    "svm._classes.NuSVR",
    "svm._classes.SVC",
    "svm._classes.SVR",
)
_LOSSES = (
    "_loss._loss.CyAbsoluteError",
    "_loss._loss.CyExponentialLoss",
    "_loss._loss.CyHalfBinomialLoss",
    "_loss._loss.CyHalfGammaLoss",
    "_loss._loss.CyHalfMultinomialLoss",
    "_loss._loss.CyHalfPoissonLoss",
    "_loss._loss.CyHalfSquaredError",
    "_loss._loss.CyHalfTweedieLoss",
    "_loss._loss.CyHalfTweedieLossIdentity",
    "_loss._loss.CyHuberLoss",
    "_loss._loss.CyPinballLoss",
    "linear_model._sgd_fast.EpsilonInsensitive",
    "linear_model._sgd_fast.Hinge",
    "linear_model._sgd_fast.ModifiedHuber",
    "linear_model._sgd_fast.SquaredEpsilonInsensitive",
    "linear_model._sgd_fast.SquaredHinge",
)
_OBJECTS = (
    *(f"sklearn.linear_model.{name}" for name in _LINEAR),
    *(f"sklearn.{name}" for name in (*_TREES, *_OTHERS)),
    "interpret.glassbox._ebm._ebm.ExplainableBoostingClassifier",
    "interpret.glassbox._ebm._ebm.ExplainableBoostingRegressor",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
)
_PRIMITIVES = ("builtins.str", "builtins.int", "builtins.float", "builtins.bool")
_SCALARS = tuple(
    f"numpy.{name}"
    for name in ("bool", "bool_", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")
)

ALLOWED: MappingProxyType[str, frozenset[str]] = MappingProxyType(
    {
        "ObjectNode": frozenset(_OBJECTS),
        "TreeNode": frozenset({"sklearn.tree._tree.Tree"}),
        "LossNode": frozenset(f"sklearn.{name}" for name in _LOSSES),
        "JsonNode": frozenset({"builtins.str"}),
        "TypeNode": frozenset((*_PRIMITIVES, *_SCALARS, "collections.OrderedDict")),
        "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
        "DefaultDictNode": frozenset({"collections.defaultdict"}),
        "ListNode": frozenset({"builtins.list"}),
        "TupleNode": frozenset({"builtins.tuple"}),
        "NdArrayNode": frozenset(("numpy.ndarray", *_SCALARS)),
        "RandomStateNode": frozenset({"numpy.random.mtrand.RandomState"}),
        "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),
    }
)
