using SorsaOrt.Adapters;
using SorsaOrt.GraphBuilder;
using SorsaOrt.Ir;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Analysis;

/// <summary>A trained model to be compared with the one it came from.</summary>
/// <param name="Label">The series it belongs to; models of one label are a path, in the order given.</param>
/// <param name="Path">The .onnx file.</param>
public sealed record TrainedModel(string Label, string Path);

/// <summary>How far one target of a model moved.</summary>
/// <param name="Module">Module path.</param>
/// <param name="Role">Role, such as q_proj.</param>
/// <param name="Movement">The two distances.</param>
public sealed record TargetMovement(string Module, string Role, WeightMovement Movement);

/// <summary>How far a model moved, target by target in the order of the base model.</summary>
/// <param name="Model">The trained model.</param>
/// <param name="Targets">Its targets.</param>
public sealed record ModelMovement(TrainedModel Model, IReadOnlyList<TargetMovement> Targets)
{
    /// <summary>Mean of ΔΣ over the targets.</summary>
    public double MeanSigma => Targets.Average(t => t.Movement.MeanSigma);

    /// <summary>Mean of ΔD over the targets.</summary>
    public double Directions => Targets.Average(t => t.Movement.Directions);
}

/// <summary>Compares the weights of trained models with those of their base, as the paper does.</summary>
public sealed class ModelComparison : IDisposable
{
    private readonly List<PreparedModel> _models = [];
    private readonly IReadOnlyList<LinearSite> _targets;
    private readonly IReadOnlyList<TrainedModel> _trained;
    private readonly List<IReadOnlyList<LinearSite>> _counterparts = [];

    /// <summary>Opens all models and checks that they have the same targets.</summary>
    /// <param name="basePath">The model before training.</param>
    /// <param name="trained">The models after it.</param>
    /// <param name="targets">Which Linears, as build-artifacts takes them.</param>
    /// <exception cref="UnsupportedGraphException">A trained model has no such target, or in another shape.</exception>
    public ModelComparison(string basePath, IReadOnlyList<TrainedModel> trained, string targets)
    {
        _trained = trained;
        try
        {
            _targets = TargetSelection.Select(Open(basePath).Sites, targets);
            foreach (var model in trained)
            {
                var sites = Open(model.Path).Sites.ToDictionary(s => s.Module, StringComparer.Ordinal);
                _counterparts.Add([.. _targets.Select(t => sites.TryGetValue(t.Module, out var site) && (site.In, site.Out) == (t.In, t.Out) ? site
                    : throw new UnsupportedGraphException($"'{model.Path}' has no Linear '{t.Module}' of {t.Out} × {t.In}, as the base model has; compare models of one origin."))]);
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Number of weights compared in each model.</summary>
    public int TargetCount => _targets.Count;

    /// <summary>Decomposes every target of every model; some at a time, so that few weights are in memory at once.</summary>
    /// <param name="rank">Leading triples compared; 0 for all that a weight has.</param>
    /// <param name="threads">Targets at the same time.</param>
    /// <param name="progress">Told how many targets are done.</param>
    /// <exception cref="DecompositionException">A weight holds NaN or infinity; the module is named.</exception>
    public IReadOnlyList<ModelMovement> Run(int rank, int threads, Action<int> progress)
    {
        var moved = _trained.Select(_ => new TargetMovement[_targets.Count]).ToArray();
        var done = 0;
        var told = new Lock();
        try
        {
            Parallel.For(0, _targets.Count, new ParallelOptions { MaxDegreeOfParallelism = threads }, t =>
            {
                Compare(t, rank, moved);
                lock (told)
                    progress(++done);
            });
        }
        catch (AggregateException e)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }
        return [.. _trained.Zip(moved, (model, targets) => new ModelMovement(model, targets))];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var model in _models)
            model.Model.Dispose();
    }

    private void Compare(int target, int rank, TargetMovement[][] moved)
    {
        var site = _targets[target];
        var weight = site.ReadWeight();
        var before = Decompose(site, weight, rank);
        for (var m = 0; m < _trained.Count; m++)
        {
            var counterpart = _counterparts[m][target];
            var trained = counterpart.ReadWeight();
            var isSame = counterpart.Transposed == site.Transposed && trained.AsSpan().SequenceEqual(weight);
            moved[m][target] = new TargetMovement(site.Module, site.Role,
                isSame ? default : WeightMovement.Between(before, Decompose(counterpart, trained, rank)));
        }
    }

    private static SorsaFactors Decompose(LinearSite site, float[] weight, int rank)
    {
        var all = Math.Min(site.In, site.Out);
        try
        {
            return SorsaFactors.Decompose(weight, site.Out, site.In, site.Transposed, rank == 0 ? all : Math.Min(rank, all), new SvdOptions { Method = SvdMethod.Exact });
        }
        catch (DecompositionException e)
        {
            throw new DecompositionException($"{site.Module}: {e.Message}", e);
        }
    }

    private PreparedModel Open(string path)
    {
        var model = OnnxReader.Read(path);
        try
        {
            var prepared = PreparedModel.From(model);
            _models.Add(prepared);
            return prepared;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }
}
