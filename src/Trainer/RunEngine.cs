using SorsaOrt.Artifacts;
using SorsaOrt.Engines;
using SorsaOrt.GraphBuilder.OrtTraining;
using SorsaOrt.Ir.Serialization;

namespace SorsaOrt.Trainer;

/// <summary>Opens the engine that a run asks for.</summary>
internal static class RunEngine
{
    /// <summary>Opens it with the parameters as built.</summary>
    /// <param name="settings">Engine and numbers of the run.</param>
    /// <param name="device">Where it trains.</param>
    /// <param name="artifacts">What it trains.</param>
    /// <exception cref="ConfigException">This build does not hold the engine.</exception>
    public static ITrainingEngine Open(RunSettings settings, Device device, ArtifactSet artifacts)
    {
        var options = new EngineOptions { Device = device, Threads = settings.Threads, PackWeights = settings.PackWeights ?? false, Tf32 = settings.Tf32 is true };
        if (settings.Tf32 is true && device.Kind != DeviceKind.Cuda)
            throw new ConfigException($"--tf32 is a mode of CUDA's matrix products, and the run is on {device}; leave it out.");
        if (settings.Training.LossScale is not null && artifacts.Manifest.ComputeType != "f16")
            throw new ConfigException($"--loss-scale is for gradients of float16, and the artifacts compute in {artifacts.Manifest.ComputeType ?? "f32"}; leave it out.");
        return settings.Engine == RunSettings.OrtTraining ? OpenOnDevice(artifacts, options, settings.Training.ToAdamW()) : SessionEngine.Open(artifacts, options);
    }

    // The runtime can be told the learning rate and nothing else, so the other numbers of a run are in an optimizer graph of its own.
    private static OnDeviceEngine OpenOnDevice(ArtifactSet artifacts, EngineOptions options, AdamWOptions adamW)
    {
        try
        {
            return OnDeviceEngine.Open(artifacts, options, adamW, OptimizerModel(artifacts, adamW));
        }
        catch (EngineException e) when (!e.IsModelRefused)
        {
            throw new ConfigException("--engine ort-training: " + e.Message, e);
        }
    }

    /// <summary>The official optimizer graph with the numbers of a run.</summary>
    internal static byte[] OptimizerModel(ArtifactSet artifacts, AdamWOptions adamW)
    {
        using var model = OfficialOptimizer.Build(new OfficialOptimizerOptions
        {
            Beta1 = (float)adamW.Beta1,
            Beta2 = (float)adamW.Beta2,
            Epsilon = (float)adamW.Epsilon,
            WeightDecay = (float)adamW.WeightDecay,
            MaxGradNorm = (float)adamW.MaxGradNorm,
            RegularizerStrength = adamW.RegularizerStrength,
        }, artifacts.Manifest.Parameters.Count(p => p.Orthonormal != Orthonormality.None));
        return OnnxWriter.ToBytes(model);
    }
}
